"""Accept a device's signed report: its current images and the progress of its action."""

import contextlib
import re
from dataclasses import dataclass, field
from typing import TypeGuard

from cryptography import x509

from devices import metrics
from devices.models import Device
from devices.services import distrust, forks, presence, twins
from devices.twin_documents import Applier, ComponentState, SeenByDevice
from ota.deltas.choose import CANDIDATE_NAMES, MOST_APPLIERS
from ota.selectors import signed
from ota.services import arenas, assignments, deltas
from ota.services.assignments import Feedback, Status
from pki.kernel import cbor, clock, intake
from pki.kernel.actor import Actor
from pki.kernel.errors import DeniedError, InvalidError, NotFoundError
from pki.kernel.names import LONGEST_VERSION
from pki.keys import is_signed_by

MAX_REPORT = 16 * 1024
MAX_COMPONENTS = 16
MAX_ANCHORS = 8
REFUSED = "refused"
STATES: dict[str, Status] = {
    "downloading": Status.DOWNLOAD,
    "installed": Status.INSTALLED,
    "confirmed": Status.FINISHED,
    REFUSED: Status.ERROR,
    "failed": Status.ERROR,
    "rolled-back": Status.ERROR,
}
_DIGEST = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,59}")
_FIELDS = frozenset({"device", "sequence", "at", "components", "action", "state", "reason"})
_SEEN_FIELDS = frozenset({"anchors", "head", "fork", "appliers", "patch"})


@dataclass(frozen=True, slots=True)
class CheckedReport:
    """A checked report.

    Args:
        fork: token of the last answer; empty when there was none, None when the device does not know the fork test.
        patch: format of the patch that it was given, and why that was of no use (empty: it was), if it says so.
        at: seconds since 1970 by the device's clock, if it says so.
        seen: ``anchors`` (digests of the roots that the device trusts) and ``head`` (of the ledger), if it says so.
    """

    device: str
    sequence: int
    components: dict[str, ComponentState]
    action: int | None
    state: str
    reason: str
    seen: SeenByDevice = field(default_factory=SeenByDevice)
    fork: bytes | None = None
    at: int | None = None
    patch: tuple[str, str] | None = None


def receive_report(
    *, actor: Actor, device: Device, payload: bytes, signature: bytes, certificate: bytes
) -> bytes | None:
    """Accept a report: check the signature by the device's key, then the device, then whether the report is new.

    Returns the token that the next report must repeat, for a device that knows the fork test.

    Args:
        actor: the device.
        device: the one that is meant.
        payload: CBOR map.
        signature: by the device's key over the payload (ECDSA in DER, RSA or Ed25519).
        certificate: the device's certificate in DER.

    Raises:
        DeniedError: the signature is not by this device, or the report is for another one.
        InvalidError: malformed.
        ReplayError: taken before.
    """
    actor.require_device(device.key)
    _verify(payload, signature, certificate)
    report = parse_report(payload)
    if report.device != device.key:
        msg = "The report is for another device."
        raise DeniedError(msg)
    components = signed.describe_components(device, report.components)
    twins.store_report(actor=actor, device=device, sequence=report.sequence, components=components, seen=report.seen)
    arenas.note_arenas(actor=actor, device=device, components=components)
    if report.at is not None:
        presence.note_measured(device.pk, metrics.CLOCK_SKEW, float(report.at - clock.unix()))
    token = forks.exchange_fork_token(actor=actor, device=device, given=report.fork)
    if report.action is not None:
        _note_action(actor, device, report)
    elif report.state:
        distrust.report_distrust(actor=actor, device=device, reason=report.reason)
    return token


def _note_action(actor: Actor, device: Device, report: CheckedReport) -> None:
    """Store the progress of the report's action. After a restore it may be unknown; the report still counts."""
    said = Feedback(STATES[report.state], [f"{report.state}: {report.reason}"], report.reason or report.state)
    with contextlib.suppress(NotFoundError):
        assignments.store_feedback(actor=actor, device=device, action_id=report.action or 0, said=said)
        if report.patch is not None:
            name, why = report.patch
            deltas.note_patch_result(
                actor=actor, device=device, action_id=report.action or 0, format_=name, trouble=why
            )


def parse_report(payload: bytes) -> CheckedReport:
    """Read a report's payload.

    Raises:
        InvalidError: a field is invalid; the message names it.
    """
    body = _map(payload)
    state, action = body.get("state", ""), body.get("action")
    known = STATES if action is not None else ("", REFUSED)
    if (action is not None and not _integer(action)) or not isinstance(state, str) or state not in known:
        msg = (
            f"`action` must be an integer with a `state` of {', '.join(STATES)}; "
            f"without an action, the only `state` is {REFUSED!r}, for what the server offers."
        )
        raise InvalidError(msg)
    sequence = body.get("sequence")
    if not _integer(sequence) or sequence < 1:
        msg = "`sequence` must be a positive integer that increases with each report."
        raise InvalidError(msg)
    at = body.get("at")
    if at is not None and not _integer(at):
        msg = "`at` must be an integer: seconds since 1970 by the device's clock."
        raise InvalidError(msg)
    reason, who = body.get("reason", ""), body.get("device")
    if not isinstance(reason, str) or not isinstance(who, str):
        msg = "`device` and `reason` must be strings."
        raise InvalidError(msg)
    seen = _seen(body)
    components, patch = _components(body.get("components")), _patch(body.get("patch"))
    return CheckedReport(
        who, sequence, components, action, state, intake.kept_text(reason, 500), seen, _fork(body), at, patch
    )


def _seen(body: dict[str, object]) -> SeenByDevice:
    seen: SeenByDevice = {}
    if "anchors" in body:
        seen["anchors"] = _anchors(body["anchors"])
    if "head" in body:
        seen["head"] = _head(body["head"])
    if "appliers" in body:
        seen["appliers"] = _appliers(body["appliers"])
    return seen


def _fork(body: dict[str, object]) -> bytes | None:
    token = body.get("fork")
    if token is not None and (not isinstance(token, bytes) or len(token) > forks.TOKEN_BYTES):
        msg = f"`fork` must be a byte string of at most {forks.TOKEN_BYTES} bytes."
        raise InvalidError(msg)
    return token


def _map(payload: bytes) -> dict[str, object]:
    body = cbor.loads(payload, max_bytes=MAX_REPORT, lenient=True)
    if not isinstance(body, dict) or set(body) - _FIELDS - _SEEN_FIELDS:
        msg = f"The report must be a map with the fields {', '.join(sorted(_FIELDS | _SEEN_FIELDS))}."
        raise InvalidError(msg)
    return body


def _components(value: object) -> dict[str, ComponentState]:
    if not isinstance(value, dict) or not 0 <= len(value) <= MAX_COMPONENTS:
        msg = f"`components` must be a map of at most {MAX_COMPONENTS} entries."
        raise InvalidError(msg)
    for name, item in value.items():
        good = (
            isinstance(name, str)
            and _NAME.fullmatch(name)
            and isinstance(item, dict)
            and set(item) - {"arena"} == {"version", "sha256", "counter", "confirmed"}
            and isinstance(item["version"], str)
            and item["version"].isprintable()
            and intake.REPLACEMENT not in item["version"]
            and len(item["version"]) <= LONGEST_VERSION
            and isinstance(item["sha256"], str)
            and _DIGEST.fullmatch(item["sha256"])
            and _integer(item["counter"])
            and isinstance(item["confirmed"], bool)
            and _is_arena(item.get("arena", 1))
        )
        if not good:
            msg = (
                "A component must have a name and exactly version, sha256, counter and confirmed; a model may have "
                "arena."
            )
            raise InvalidError(msg)
    return value


def _is_arena(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= arenas.MAX_ARENA


def _anchors(value: object) -> list[str]:
    listed = value if isinstance(value, list) and len(value) <= MAX_ANCHORS else [None]
    if not all(isinstance(item, str) and _DIGEST.fullmatch(item) for item in listed):
        msg = f"`anchors` may list at most {MAX_ANCHORS} SHA-256 digests of root certificates in hex."
        raise InvalidError(msg)
    return sorted(str(item) for item in listed)


def _appliers(value: object) -> list[Applier]:
    """Return the patches that the device can apply, in formats that this server makes."""
    listed = value if isinstance(value, list) and len(value) <= MOST_APPLIERS else None
    if listed is None or not all(isinstance(item, dict) and _is_applier(item) for item in listed):
        msg = f"`appliers` may list at most {MOST_APPLIERS} maps with format, ram_max and out_max (bytes)."
        raise InvalidError(msg)
    return [item for item in listed if item["format"] in CANDIDATE_NAMES]


def _patch(value: object) -> tuple[str, str] | None:
    """Return format and trouble of a patch that was tried."""
    match value:
        case None:
            return None
        case {"format": str(name), "trouble": str(why), **rest} if name in CANDIDATE_NAMES and not rest:
            return name, intake.kept_text(why, 200)
        case _:
            msg = "`patch` must be a map with format (of a patch that this server makes) and trouble, both strings."
            raise InvalidError(msg)


def _is_applier(applier: dict[str, object]) -> bool:
    names = {"format", "ram_max", "out_max"}
    return (
        set(applier) == names
        and isinstance(applier["format"], str)
        and _integer(applier["ram_max"])
        and _integer(applier["out_max"])
    )


def _head(value: object) -> list[int | str]:
    """Return the newest audit-log head that the device received: epoch, size, root."""
    if isinstance(value, list) and len(value) == 3:  # noqa: PLR2004  because a head has three parts
        epoch, size, root = value
        if _integer(epoch) and _integer(size) and _DIGEST.fullmatch(str(root)):
            return [epoch, size, root]
    msg = "`head` must be a list of epoch, size and root (SHA-256 in hex) of the audit log."
    raise InvalidError(msg)


def _integer(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 62


def _verify(payload: bytes, signature: bytes, certificate: bytes) -> None:
    if not is_signed_by(x509.load_der_x509_certificate(certificate).public_key(), signature, payload):
        msg = "The report is not signed by this device's key."
        raise DeniedError(msg)
