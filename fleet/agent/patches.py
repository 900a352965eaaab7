"""Create the signed image from a patch: verify the base first, limit the output, then verify the image's hash."""

import hashlib
import logging
from pathlib import Path

from fleet.agent import blobs, slots
from fleet.agent.agreement import OfferedPatch, SignedAssignment
from fleet.agent.coap import CoapTransport
from fleet.agent.errors import AnswerError, RefusedError, TransportError
from fleet.agent.slots import Slots
from fleet.agent.transport import Transport
from ota.contract import patch as kernel
from pki.kernel.errors import InvalidError

#: patch formats of this device, listed in its reports
RAM_MAX, OUT_MAX = 1 << 28, 1 << 27
APPLIERS = [{"format": kernel.FORMAT, "ram_max": RAM_MAX, "out_max": OUT_MAX}]
_logger = logging.getLogger("muster.agent")


def fetch_patched(assignment: SignedAssignment, line: Transport | CoapTransport, pair: Slots) -> dict[str, str] | None:
    """Write the assigned image into the inactive slot, by its patch.

    A failed patch leaves the slot unchanged; the whole image is downloaded instead.

    Returns:
        What to report: ``format`` and ``trouble``, which is empty on success; None without a patch.
    """
    patch = assignment.patch
    if patch is None or patch.format != kernel.FORMAT or patch.length >= assignment.length > 0:
        return None
    try:
        length = _capped(assignment)
        image = kernel.apply_patch(_base(patch, pair), _come(patch, line), length)
        _demand(image, assignment.sha256, "the patched image is not the signed one")
    except (TransportError, AnswerError) as error:  # a connection error says nothing about the format
        _logger.warning("the patch download failed", extra={"path": assignment.path, "cause": str(error)})
        return None
    except (RefusedError, InvalidError) as error:
        _logger.warning("the patch cannot be applied", extra={"path": assignment.path, "cause": str(error)})
        return {"format": patch.format, "trouble": str(error)[:200] or type(error).__name__}
    _write(pair.inactive, image)
    return {"format": patch.format, "trouble": ""}


def _base(patch: OfferedPatch, pair: Slots) -> bytes:
    if not patch.base:
        return b""
    data = pair.read_running() if pair.running else b""
    _demand(data, patch.base, "the patch is for another image than the current one")
    return data


def _come(patch: OfferedPatch, line: Transport | CoapTransport) -> bytes:
    data = b"".join(chunk for _, chunk in blobs.stream_blob(line, patch.sha256, patch.length))
    _demand(data, patch.sha256, "the received patch does not match its digest")
    return data


def _capped(assignment: SignedAssignment) -> int:
    if assignment.length > OUT_MAX:
        msg = "the image is longer than this device can patch"
        raise RefusedError(msg)
    return assignment.length


def _demand(data: bytes, sha256: str, trouble: str) -> None:
    if hashlib.sha256(data).hexdigest() != sha256:
        raise RefusedError(trouble)


def _write(target: Path, image: bytes) -> None:
    part = target.with_suffix(".patched")  # a separate file, so that another download can resume
    with slots.open_part(part) as file:
        file.truncate(0)
        file.write(image)
        slots.put_in_place(file, part, target)
