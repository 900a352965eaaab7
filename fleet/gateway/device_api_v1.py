"""The device protocol, version 1: one table of resources with common access checks."""

from collections.abc import Callable
from dataclasses import dataclass

from fleet.gateway import codec, identity
from fleet.gateway.identity import Identified
from fleet.gateway.protocol import Outcome, Reply, Request, check_words
from fleet.gateway.resources import (
    blob,
    command,
    director,
    enrol,
    log,
    manifest,
    metadata,
    oscore,
    poll,
    report,
    telemetry,
    time,
    twin,
)
from pki.kernel.errors import DeniedError

Resource = Callable[[Request, Identified], Reply]


@dataclass(frozen=True, slots=True)
class Entry:
    """One resource.

    Args:
        methods: allowed methods.
        handle: parses the request, calls one service, and builds the reply.
        quarantined: whether a quarantined device may use it.
    """

    methods: frozenset[str]
    handle: Resource
    quarantined: bool


RESOURCES: dict[str, Entry] = {
    "poll": Entry(frozenset({"GET", "POST"}), poll.handle, quarantined=True),
    "metadata": Entry(frozenset({"GET", "HEAD"}), metadata.handle, quarantined=True),
    "manifest": Entry(frozenset({"GET"}), manifest.handle, quarantined=True),
    "director": Entry(frozenset({"POST"}), director.handle, quarantined=True),
    "blob": Entry(frozenset({"GET", "HEAD"}), blob.handle, quarantined=True),
    "report": Entry(frozenset({"POST"}), report.handle, quarantined=True),
    "time": Entry(frozenset({"POST"}), time.handle, quarantined=True),
    "command": Entry(frozenset({"POST"}), command.handle, quarantined=True),
    "log": Entry(frozenset({"POST"}), log.handle, quarantined=True),
    "oscore": Entry(frozenset({"POST"}), oscore.handle, quarantined=True),
    "twin": Entry(frozenset({"GET", "PUT"}), twin.handle, quarantined=False),
    "telemetry": Entry(frozenset({"POST"}), telemetry.handle, quarantined=False),
}


def dialect(request: Request) -> Reply | None:
    """Answer paths below ``/v1/``."""
    parts = request.path.split("/", 3)
    if len(parts) < 3 or parts[1] != "v1":  # noqa: PLR2004  because a path has a root, a version and a name
        return None
    check_words(request)
    if parts[2] == "enrol":
        return enrol.handle(request, identity.domain_by_host(request.host))
    entry = RESOURCES.get(parts[2])
    if entry is None:
        return Reply(Outcome.NOT_FOUND, b"", codec.CBOR)
    if request.method not in entry.methods:
        return Reply(Outcome.NOT_ALLOWED, b"", codec.CBOR, {"allow": ", ".join(sorted(entry.methods))})
    who = identity.device(request, identity.domain_by_host(request.host), "device")
    gate(who, allowed=entry.quarantined)
    if named := request.query.get("for"):
        who = identity.child(who, named, "gateway")
        gate(who, allowed=entry.quarantined)
    return entry.handle(request, who)


def gate(who: Identified, *, allowed: bool) -> None:
    """Restrict a quarantined device to the resources of its repair; the same for every protocol adapter.

    Raises:
        DeniedError: the device is quarantined and the resource is not part of its repair.
    """
    if who.device.quarantined and not allowed:
        msg = "The device is quarantined. It can use only the resources for its repair."
        raise DeniedError(msg)
