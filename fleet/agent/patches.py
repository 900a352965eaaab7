"""Come to the signed image by a patch: base checked before, output capped, the whole image's hash checked after."""

import hashlib
import logging
from pathlib import Path

from fleet.agent import blobs, slots
from fleet.agent.agreement import Assignment, Patch
from fleet.agent.coap import CoapTransport
from fleet.agent.errors import AnswerError, RefusedError, TransportError
from fleet.agent.slots import Slots
from fleet.agent.transport import Transport
from ota.contract import patch as kernel
from pki.kernel.errors import InvalidError

#: what this device can apply, told in its reports
RAM_MAX, OUT_MAX = 1 << 28, 1 << 27
APPLIERS = [{"format": kernel.FORMAT, "ram_max": RAM_MAX, "out_max": OUT_MAX}]
_logger = logging.getLogger("muster.agent")


def fetch(assignment: Assignment, line: Transport | CoapTransport, pair: Slots) -> dict[str, str] | None:
    """Write the assigned image into the slot that does not run, by its patch.

    Whatever is wrong with the patch, the slot is left alone: the image itself is fetched then.

    Returns:
        What to report: ``format`` and ``trouble``, which is empty when it worked; None when there was no patch to try.
    """
    patch = assignment.patch
    if patch is None or patch.format != kernel.FORMAT or patch.length >= assignment.length > 0:
        return None
    try:
        length = _capped(assignment)
        image = kernel.apply(_base(patch, pair), _come(patch, line), length)
        _demand(image, assignment.sha256, "what the patch yields is not the signed image")
    except (TransportError, AnswerError) as error:  # the line's trouble says nothing about the format
        _logger.warning("the patch did not come", extra={"path": assignment.path, "cause": str(error)})
        return None
    except (RefusedError, InvalidError) as error:
        _logger.warning("the patch is of no use", extra={"path": assignment.path, "cause": str(error)})
        return {"format": patch.format, "trouble": str(error)[:200] or type(error).__name__}
    _write(pair.inactive, image)
    return {"format": patch.format, "trouble": ""}


def _base(patch: Patch, pair: Slots) -> bytes:
    if not patch.base:
        return b""
    data = pair.read_running() if pair.running else b""
    _demand(data, patch.base, "the patch is for another image than the one that runs")
    return data


def _come(patch: Patch, line: Transport | CoapTransport) -> bytes:
    data = b"".join(chunk for _, chunk in blobs.stream(line, patch.sha256, patch.length))
    _demand(data, patch.sha256, "the patch that came is not the one that was named")
    return data


def _capped(assignment: Assignment) -> int:
    if assignment.length > OUT_MAX:
        msg = "the image is longer than this device patches"
        raise RefusedError(msg)
    return assignment.length


def _demand(data: bytes, sha256: str, trouble: str) -> None:
    if hashlib.sha256(data).hexdigest() != sha256:
        raise RefusedError(trouble)


def _write(target: Path, image: bytes) -> None:
    part = target.with_suffix(".patched")  # not where another download may be waiting to go on
    with slots.open_part(part) as file:
        file.truncate(0)
        file.write(image)
        slots.put_in_place(file, part, target)
