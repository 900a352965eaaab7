"""The device protocol, version 1: one table of resources with common access checks."""

from collections.abc import Callable
from dataclasses import dataclass

from fleet.gateway import codec, identity
from fleet.gateway.identity import Identified
from fleet.gateway.protocol import DeviceRequest, Reply, ResponseOutcome, check_words
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

Resource = Callable[[DeviceRequest, Identified], Reply]


@dataclass(frozen=True, slots=True)
class ResourceEntry:
    """One resource.

    Args:
        methods: allowed methods.
        handle: parses the request, calls one service, and builds the reply.
        quarantined: whether a quarantined device may use it.
    """

    methods: frozenset[str]
    handle: Resource
    quarantined: bool


RESOURCES: dict[str, ResourceEntry] = {
    "poll": ResourceEntry(frozenset({"GET", "POST"}), poll.handle_poll, quarantined=True),
    "metadata": ResourceEntry(frozenset({"GET", "HEAD"}), metadata.handle_metadata, quarantined=True),
    "manifest": ResourceEntry(frozenset({"GET"}), manifest.handle_manifest, quarantined=True),
    "director": ResourceEntry(frozenset({"POST"}), director.handle_director, quarantined=True),
    "blob": ResourceEntry(frozenset({"GET", "HEAD"}), blob.handle_blob, quarantined=True),
    "report": ResourceEntry(frozenset({"POST"}), report.handle_report, quarantined=True),
    "time": ResourceEntry(frozenset({"POST"}), time.handle_time, quarantined=True),
    "command": ResourceEntry(frozenset({"POST"}), command.handle_command, quarantined=True),
    "log": ResourceEntry(frozenset({"POST"}), log.handle_log, quarantined=True),
    "oscore": ResourceEntry(frozenset({"POST"}), oscore.handle_oscore, quarantined=True),
    "twin": ResourceEntry(frozenset({"GET", "PUT"}), twin.handle_twin, quarantined=False),
    "telemetry": ResourceEntry(frozenset({"POST"}), telemetry.handle_telemetry, quarantined=False),
}


def answer_device_api(request: DeviceRequest) -> Reply | None:
    """Answer paths below ``/v1/``."""
    parts = request.path.split("/", 3)
    if len(parts) < 3 or parts[1] != "v1":  # noqa: PLR2004  because a path has a root, a version and a name
        return None
    check_words(request)
    if parts[2] == "enrol":
        return enrol.handle_enrolment(request, identity.domain_by_host(request.host))
    entry = RESOURCES.get(parts[2])
    if entry is None:
        return Reply(ResponseOutcome.NOT_FOUND, b"", codec.CBOR)
    if request.method not in entry.methods:
        return Reply(ResponseOutcome.NOT_ALLOWED, b"", codec.CBOR, {"allow": ", ".join(sorted(entry.methods))})
    who = identity.authenticate_device(request, identity.domain_by_host(request.host), "device")
    identity.gate_quarantined(who, allowed=entry.quarantined)
    if named := request.query.get("for"):
        who = identity.get_child(who, named, "gateway")
        identity.gate_quarantined(who, allowed=entry.quarantined)
    return entry.handle(request, who)
