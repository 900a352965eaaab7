"""Read and write the JSON bodies of DDI, with tolerance for real clients."""

from collections.abc import Mapping
from dataclasses import dataclass

from devices.services import twins
from fleet.gateway.identity import Identified
from ota.manifest.paths import quote_path
from ota.models import Assignment
from ota.services.assignments import Feedback, Status
from ota.services.offers import PollAnswer
from pki.kernel import intake
from pki.kernel.errors import InvalidError

MAX_KEYS, MAX_TEXT = 100, 128
MAX_DETAILS = 50
#: modes of configData; the first is the default
MODES = ("merge", "replace", "remove")
#: hawkBit's bounds of the polling time
LEAST_SLEEP, MOST_SLEEP = 1, 24 * 3600 - 1
#: feedback execution -> status; other values mean that the action is in progress
_EXECUTION = {
    "canceled": Status.CANCELED,
    "rejected": Status.WARNING,
    "download": Status.DOWNLOAD,
    "downloaded": Status.DOWNLOADED,
}


def poll_document(base: str, offer: PollAnswer, *, wants_config: bool) -> dict[str, object]:
    """Return the poll document with at most one link to an action."""
    links: dict[str, object] = {}
    assignment = offer.assignment
    if assignment is not None and assignment.status == Status.CANCELING:
        links["cancelAction"] = {"href": f"{base}/cancelAction/{assignment.action_id}"}
    elif assignment is not None:
        href = f"{base}/deploymentBase/{assignment.action_id}?c={assignment.content_stamp}"
        links["deploymentBase"] = {"href": href}
    if wants_config:
        links["configData"] = {"href": f"{base}/configData"}
    seconds = min(max(offer.next_s, LEAST_SLEEP), MOST_SLEEP)
    sleep = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return {"config": {"polling": {"sleep": sleep}}, "_links": links}


def deployment_document(base: str, assignment: Assignment) -> dict[str, object]:
    """Return the deployment: one chunk, one artifact, all three hashes, always forced."""
    bundle = assignment.bundle
    image = bundle.image
    href = {"href": f"{base}/softwaremodules/{bundle.pk}/artifacts/{quote_path(image.path)}"}
    artifact = {
        "filename": image.path,
        "hashes": {"sha1": image.sha1, "md5": image.md5, "sha256": image.sha256},
        "size": image.size,
        "_links": {"download": href, "download-http": href},
    }
    chunk = {"part": "bApp", "version": bundle.version, "name": bundle.name, "artifacts": [artifact]}
    return {
        "id": str(assignment.action_id),
        "deployment": {"download": "forced", "update": "forced", "chunks": [chunk]},
    }


def parse_feedback(body: Mapping[str, object]) -> Feedback:
    """Read feedback on a deployment. Unusual texts and progress values are never refused.

    Raises:
        InvalidError: status.execution is missing.
    """
    execution, finished, details = _status(body)
    if execution == "closed":
        status = Status.ERROR if finished == "failure" else Status.FINISHED
    else:
        status = _EXECUTION.get(execution, Status.RUNNING)
    return Feedback(status, details or [execution], _reason(details) if status == Status.ERROR else "")


def cancel_feedback(body: Mapping[str, object]) -> Feedback:
    """Read feedback on a cancellation: after a rejection the action continues.

    Raises:
        InvalidError: status.execution is missing.
    """
    execution, finished, details = _status(body)
    texts = details or [execution]
    if execution == "closed":
        failed = finished == "failure"
        return Feedback(Status.ERROR if failed else Status.CANCELED, texts, "canceled by an operator")
    return Feedback(Status.WARNING if execution == "rejected" else Status.RUNNING, texts)


@dataclass(frozen=True, slots=True)
class ConfigData:
    """Attributes that a client reports.

    Args:
        values: attribute to value, sanitized and truncated.
        mode: one of ``MODES``.
        altered: attributes whose value was changed.
    """

    values: dict[str, str]
    mode: str
    altered: frozenset[str]


def config_data(body: Mapping[str, object]) -> ConfigData:
    """Read a configData body: values are free text, sanitized and truncated; names are identifiers.

    Raises:
        InvalidError: a field exceeds a limit; the error names it.
    """
    data, mode = body.get("data"), body.get("mode")
    mode = MODES[0] if mode is None else mode
    if not isinstance(data, dict) or len(data) > MAX_KEYS:
        msg = f"`data` must be an object with at most {MAX_KEYS} keys."
        raise InvalidError(msg)
    if mode not in MODES:
        msg = f"`mode` must be one of {', '.join(MODES)}."
        raise InvalidError(msg)
    values, altered = {}, set()
    for key, value in data.items():
        name = intake.check_identifier(key, f"name in data: {intake.shown_name(key)}", most=MAX_TEXT)
        if intake.REPLACEMENT in name or not isinstance(value, str | int | float | None):
            msg = f"`data.{intake.shown_name(name)}` must be a string with a printable name."
            raise InvalidError(msg)
        text = value if isinstance(value, str) else "" if value is None else str(value).lower()
        values[name], changed = intake.clean_text(text, MAX_TEXT)
        if changed or intake.REPLACEMENT in values[name]:
            altered.add(name)
    return ConfigData(values, str(mode), frozenset(altered))


def keep_config(who: Identified, said: ConfigData) -> None:
    """Store the attributes in the device's twin."""
    gone = frozenset(said.values) if said.mode == "remove" else frozenset()
    values = {} if gone else said.values
    change = twins.Attributes(values, replace=said.mode == "replace", remove=gone, altered=said.altered - gone)
    twins.store_attributes(actor=who.actor, device=who.device, change=change)


def _status(body: Mapping[str, object]) -> tuple[str, str, list[str]]:
    status = body.get("status")
    if not isinstance(status, dict) or not isinstance(status.get("execution"), str):
        msg = "`status.execution` is missing."
        raise InvalidError(msg)
    result = status.get("result")
    finished = result.get("finished") if isinstance(result, dict) else "none"
    details = status.get("details") or []
    listed = details[:MAX_DETAILS] if isinstance(details, list) else [details]
    return status["execution"], str(finished), [str(text) for text in listed]


def _reason(details: list[str]) -> str:
    """Return the most informative line: the first about a signature, else about an error, else the last."""
    for words in (("SIGNATURE", "AUTHENTICATION"), ("ERROR", "FAIL", "MISMATCH")):
        for text in details:
            if any(word in text.upper() for word in words):
                return text[:500]
    return (details or ["the device reported no reason"])[-1][:500]
