"""The JSON bodies of DDI, written and read with the care that real clients need."""

from typing import Any

from devices.services import twins
from fleet.gateway.identity import Identified
from ota.models import Assignment
from ota.services.assignments import Feedback, Status
from ota.services.offers import Offer
from pki.kernel.errors import InvalidError

MAX_KEYS, MAX_TEXT = 100, 128
MAX_DETAILS = 50
#: hawkBit's bounds of the polling time
LEAST_SLEEP, MOST_SLEEP = 1, 24 * 3600 - 1
#: feedback execution -> status; anything not here means that the device is at work
_EXECUTION = {
    "canceled": Status.CANCELED,
    "rejected": Status.WARNING,
    "download": Status.DOWNLOAD,
    "downloaded": Status.DOWNLOADED,
}


def poll(base: str, offer: Offer, *, wants_config: bool) -> dict[str, Any]:
    """Return the poll document with at most one link to an action."""
    links: dict[str, Any] = {}
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


def deployment(base: str, assignment: Assignment) -> dict[str, Any]:
    """Return the deployment: one chunk, one artifact, all three hashes, always forced."""
    bundle = assignment.bundle
    image = bundle.image
    href = {"href": f"{base}/softwaremodules/{bundle.pk}/artifacts/{image.path}"}
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


def feedback(body: dict[str, Any]) -> Feedback:
    """Read feedback on a deployment; odd texts and progress are never a reason to refuse it.

    Raises:
        InvalidError: there is no status.execution.
    """
    execution, finished, details = _status(body)
    if execution == "closed":
        status = Status.ERROR if finished == "failure" else Status.FINISHED
    else:
        status = _EXECUTION.get(execution, Status.RUNNING)
    return Feedback(status, details or [execution], _reason(details) if status == Status.ERROR else "")


def cancel_feedback(body: dict[str, Any]) -> Feedback:
    """Read feedback on a cancellation: rejected lets the action run on.

    Raises:
        InvalidError: there is no status.execution.
    """
    execution, finished, details = _status(body)
    texts = details or [execution]
    if execution == "closed":
        failed = finished == "failure"
        return Feedback(Status.ERROR if failed else Status.CANCELED, texts, "canceled by an operator")
    return Feedback(Status.WARNING if execution == "rejected" else Status.RUNNING, texts)


def config_data(body: dict[str, Any]) -> tuple[dict[str, str], bool]:
    """Return the attributes of a configData body, and whether they replace the old ones.

    Raises:
        InvalidError: it names the key that breaks a limit.
    """
    data = body.get("data")
    if not isinstance(data, dict) or len(data) > MAX_KEYS:
        msg = f"`data` is an object with at most {MAX_KEYS} keys."
        raise InvalidError(msg)
    for key, value in data.items():
        if not isinstance(value, str) or len(key) > MAX_TEXT or len(value) > MAX_TEXT:
            msg = f"The attribute {key[:60]!r} is not a text of at most {MAX_TEXT} characters."
            raise InvalidError(msg)
    return data, body.get("mode") == "replace"


def keep_config(who: Identified, values: dict[str, str], *, replace: bool) -> None:
    """Store the attributes in the device's twin."""
    twins.attributes(actor=who.actor, device=who.device, values=values, replace=replace)


def _status(body: dict[str, Any]) -> tuple[str, str, list[str]]:
    status = body.get("status")
    if not isinstance(status, dict) or not isinstance(status.get("execution"), str):
        msg = "`status.execution` is missing."
        raise InvalidError(msg)
    result = status.get("result")
    finished = result.get("finished") if isinstance(result, dict) else "none"
    details = status.get("details") or []
    texts = [str(text) for text in details][:MAX_DETAILS] if isinstance(details, list) else [str(details)]
    return status["execution"], str(finished), texts


def _reason(details: list[str]) -> str:
    """Return the line that tells most: the first about a signature, then about an error, else the last."""
    for words in (("SIGNATURE", "AUTHENTICATION"), ("ERROR", "FAIL", "MISMATCH")):
        for text in details:
            if any(word in text.upper() for word in words):
                return text[:500]
    return (details or ["the device gave no reason"])[-1][:500]
