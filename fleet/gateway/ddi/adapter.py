"""Protocol adapter for the hawkBit Direct Device Integration API (DDI), as SWUpdate uses it, over mutual TLS."""

import json
import re
from collections.abc import Callable

from fleet.gateway import identity
from fleet.gateway.codec import MAX_BODY
from fleet.gateway.ddi import bodies
from fleet.gateway.identity import Identified
from fleet.gateway.protocol import DeviceRequest, Reply, ResponseOutcome, check_words
from ota.manifest.paths import content_disposition
from ota.services import assignments, downloads, offers
from pki.kernel import intake, strict_json
from pki.kernel.errors import DeniedError, DomainError, InvalidError, NotFoundError

_BASE = re.compile(r"/([A-Za-z0-9-]{1,40})/controller/v1/([A-Za-z0-9._-]{1,64})(?:/(.*))?")
_CODES = {
    ResponseOutcome.INVALID: "hawkbit.server.error.rest.body.notReadable",
    ResponseOutcome.NOT_FOUND: "hawkbit.server.error.repo.entitiyNotFound",
    ResponseOutcome.DENIED: "hawkbit.server.error.insufficientpermission",
}
Handler = Callable[[DeviceRequest, Identified, list[str]], Reply]


def answer_ddi(request: DeviceRequest) -> Reply | None:
    """Answer ``/{tenant}/controller/v1/{controllerId}…``; the certificate must be that device's."""
    match = _BASE.fullmatch(request.path)
    if match is None:
        return None
    check_words(request)
    tenant, controller, rest = match.groups()
    who = identity.authenticate_device(request, identity.domain_by_slug(tenant), "ddi")
    if who.device.name != controller:
        msg = "The certificate belongs to another controller."
        raise DeniedError(msg)
    for methods, pattern, handler, quarantined in ROUTES:
        found = re.fullmatch(pattern, rest or "")
        if found and request.method not in methods:
            return Reply(
                ResponseOutcome.NOT_ALLOWED, headers={"allow": ", ".join(sorted(methods))}, device_id=who.device.pk
            )
        if found:
            identity.gate_quarantined(who, allowed=quarantined)
            return handler(request, who, list(found.groups()))
    msg = "This DDI resource does not exist."
    raise NotFoundError(msg)


def render_ddi_refusal(_request: DeviceRequest, outcome: ResponseOutcome, error: DomainError) -> Reply:
    """Return a refusal in hawkBit's format; 401 has no body."""
    if outcome is ResponseOutcome.UNAUTHENTICATED:
        return Reply(outcome)
    body = {
        "exceptionClass": "org.eclipse.hawkbit.repository.exception",
        "errorCode": _CODES.get(outcome, "hawkbit.server.error.repo.genericError"),
        "message": error.detail,
        "parameters": [],
    }
    return Reply(outcome, json.dumps(body).encode(), "application/json")


def _poll(request: DeviceRequest, who: Identified, _parts: list[str]) -> Reply:
    offer = offers.poll_work(actor=who.actor, device=who.device)
    body = bodies.poll_document(_base(request, who), offer, wants_config=not who.device.twin.reported.get("attributes"))
    return _json(who, body, routine=True)


def _config_data(request: DeviceRequest, who: Identified, _parts: list[str]) -> Reply:
    bodies.keep_config(who, bodies.config_data(_read(request)))
    return Reply(ResponseOutcome.OK, device_id=who.device.pk, routine=False)


def _deployment(request: DeviceRequest, who: Identified, parts: list[str]) -> Reply:
    assignment = offers.current_offer(who.device)
    if assignment is None or assignment.action_id != _action(parts[0]):
        msg = "This action is not open for this controller."
        raise NotFoundError(msg)
    assignment = assignments.note_retrieved(actor=who.actor, device=who.device, action_id=assignment.action_id)
    return _json(who, bodies.deployment_document(_base(request, who), assignment))


def _feedback(request: DeviceRequest, who: Identified, parts: list[str]) -> Reply:
    said = bodies.parse_feedback(_read(request))
    assignments.store_feedback(actor=who.actor, device=who.device, action_id=_action(parts[0]), said=said)
    return Reply(ResponseOutcome.OK, device_id=who.device.pk, routine=False)


def _cancel(_request: DeviceRequest, who: Identified, parts: list[str]) -> Reply:
    assignment = assignments.of_device(who.device, _action(parts[0]))
    if assignment.status != assignments.Status.CANCELING:
        msg = "This action is not being canceled."
        raise NotFoundError(msg)
    number = str(assignment.action_id)
    return _json(who, {"id": number, "cancelAction": {"stopId": number}})


def _cancel_feedback(request: DeviceRequest, who: Identified, parts: list[str]) -> Reply:
    said = bodies.cancel_feedback(_read(request))
    assignments.store_feedback(actor=who.actor, device=who.device, action_id=_action(parts[0]), said=said)
    return Reply(ResponseOutcome.OK, device_id=who.device.pk, routine=False)


def _artifact(_request: DeviceRequest, who: Identified, parts: list[str]) -> Reply:
    file = downloads.file_by_name(actor=who.actor, device=who.device, bundle_id=_action(parts[0]), name=parts[1])
    headers = {"etag": f'"{file.sha1}"', "content-disposition": content_disposition(file.name)}
    return Reply(ResponseOutcome.OK, headers=headers, file=file, device_id=who.device.pk, routine=False)


ROUTES: tuple[tuple[frozenset[str], str, Handler, bool], ...] = (
    (frozenset({"GET"}), r"", _poll, True),
    (frozenset({"PUT"}), r"configData", _config_data, True),
    (frozenset({"GET"}), r"deploymentBase/([0-9]{1,10})", _deployment, True),
    (frozenset({"POST"}), r"deploymentBase/([0-9]{1,10})/feedback", _feedback, True),
    (frozenset({"GET"}), r"cancelAction/([0-9]{1,10})", _cancel, True),
    (frozenset({"POST"}), r"cancelAction/([0-9]{1,10})/feedback", _cancel_feedback, True),
    (
        frozenset({"GET", "HEAD"}),
        r"softwaremodules/([0-9]{1,10})/artifacts/(.{1,200})",
        _artifact,
        True,
    ),
)


def _base(request: DeviceRequest, who: Identified) -> str:
    return f"https://{request.authority}/{who.device.domain.slug.upper()}/controller/v1/{who.device.name}"


def _action(text: str) -> int:
    return int(text)


def _read(request: DeviceRequest) -> dict[str, object]:
    body = strict_json.read_json(
        request.payload or b"{}", max_bytes=MAX_BODY, max_depth=intake.MOST_DEPTH, lenient=True
    )
    if not isinstance(body, dict):
        msg = "The body must be a JSON object."
        raise InvalidError(msg)
    return body


def _json(who: Identified, body: object, *, routine: bool = False) -> Reply:
    data = json.dumps(body, separators=(",", ":")).encode()
    return Reply(ResponseOutcome.OK, data, "application/json", device_id=who.device.pk, routine=routine)
