"""Download an image into the inactive slot from a mirror or the server: resumable, size-limited, hashed."""

import contextlib
import hashlib
import os
import shutil
from pathlib import Path
from typing import BinaryIO

from fleet.agent import blobs, patches, slots
from fleet.agent.agreement import SignedAssignment
from fleet.agent.coap import CoapTransport
from fleet.agent.errors import AnswerError, RefusedError, TransportError
from fleet.agent.transport import Transport
from pki.kernel import files

_PARTIAL = 206


def fetch_image(
    assignment: SignedAssignment, mirror: Transport | None, server: Transport | CoapTransport, target: Path
) -> None:
    """Write the assigned image into a file and verify its full hash.

    A mirror is not trusted: it saves server bandwidth, and the hash detects modified bytes.

    Raises:
        RefusedError: the received bytes are not the signed ones.
        TransportError: the download is incomplete; the next attempt resumes it.
    """
    if _there(assignment, target):
        return
    part = target.with_suffix(".part")
    marker = target.with_suffix(".part-of")
    if not marker.exists() or marker.read_text() != assignment.sha256:
        part.unlink(missing_ok=True)
        marker.write_text(assignment.sha256)
    with slots.open_part(part) as file:  # written, hashed and renamed through this one descriptor
        try:
            _append(assignment, mirror or server, file, mirrored=mirror is not None)
        except (AnswerError, TransportError):
            if mirror is None:
                raise
            _append(assignment, server, file, mirrored=False)
        try:
            _check(assignment, file)
        except RefusedError:
            part.unlink(missing_ok=True)
            raise
        slots.put_in_place(file, part, target)
    with contextlib.suppress(OSError):
        marker.unlink()


def fill_slot(
    assignment: SignedAssignment, mirror: Transport | None, server: Transport | CoapTransport, pair: slots.Slots
) -> tuple[slots.SlotImage, dict[str, str] | None]:
    """Write the assigned image and its golden vectors into the inactive slot, by a patch if one is usable.

    Returns:
        The facts about the image, and what to report about the patch (None without a patch).

    Raises:
        RefusedError: the received bytes are not the signed ones.
        TransportError: the download is incomplete; the next attempt resumes it.
    """
    pair.clear()
    running = pair.running
    if running is not None and running.sha256 == assignment.sha256:
        _copied(pair)  # the same bytes under another name or counter: no download needed
    # A mirror costs the server no bandwidth, so a patch would save nothing.
    patched = None if mirror or _there(assignment, pair.inactive) else patches.fetch_patched(assignment, server, pair)
    if patched is None or patched["trouble"]:
        fetch_image(assignment, mirror, server, pair.inactive)
    vectors = fetch_golden(assignment, server, pair)
    facts = (assignment.version, assignment.sha256, assignment.counter, vectors)
    return slots.SlotImage(*facts, requires=[list(requirement) for requirement in assignment.requires]), patched


def _copied(pair: slots.Slots) -> None:
    part = pair.inactive.with_suffix(".copy")  # a separate file, so that another download can resume
    with files.open_plain(pair.image) as image, slots.open_part(part) as file:
        file.truncate(0)
        shutil.copyfileobj(image, file)
        slots.put_in_place(file, part, pair.inactive)


def _there(assignment: SignedAssignment, target: Path) -> bool:
    """Return whether the slot already has these bytes, from an attempt that failed later."""
    if not target.exists() or target.stat().st_size != assignment.length:
        return False
    with files.open_plain(target) as file:
        return slots.digest_of_rest(file) == assignment.sha256


def fetch_golden(assignment: SignedAssignment, server: Transport | CoapTransport, pair: slots.Slots) -> str:
    """Download the golden vectors of a model next to the inactive slot. Return their SHA-256, or an empty text.

    Raises:
        RefusedError: the received bytes are not the signed ones.
        TransportError: the download is incomplete.
    """
    golden = assignment.golden
    if golden is None:
        return ""
    data = b"".join(chunk for _, chunk in blobs.stream_blob(server, golden.sha256, golden.length))
    if hashlib.sha256(data).hexdigest() != golden.sha256:
        msg = f"the golden vectors of {assignment.path} are not the signed ones"
        raise RefusedError(msg)
    pair.put_golden(data)
    return golden.sha256


def _append(assignment: SignedAssignment, source: Transport | CoapTransport, file: BinaryIO, *, mirrored: bool) -> None:
    have = file.seek(0, os.SEEK_END)
    if have >= assignment.length:
        return
    headers = {"Range": f"bytes={have}-", "If-Range": f'"{assignment.sha256}"'} if have else {}
    if mirrored:
        opened = source.stream(f"/{assignment.sha256}", assignment.length, headers)
    else:
        opened = blobs.stream_blob(source, assignment.sha256, assignment.length, headers)
    with contextlib.closing(opened) as chunks:
        for status, chunk in chunks:
            if have and status != _PARTIAL:
                file.truncate(0)
                file.seek(0)
                have = 0
            if file.tell() + len(chunk) > assignment.length:
                file.truncate(0)
                msg = f"received more bytes for {assignment.path} than the signed length"
                raise RefusedError(msg)
            file.write(chunk)


def _check(assignment: SignedAssignment, file: BinaryIO) -> None:
    size = file.seek(0, os.SEEK_END)
    if size < assignment.length:
        msg = f"received {size} of {assignment.length} bytes of {assignment.path}"
        raise TransportError(msg)
    file.seek(0)
    digest = slots.digest_of_rest(file)
    if digest != assignment.sha256:
        msg = f"the bytes of {assignment.path} are not the signed ones (sha256 {digest[:12]}…)"
        raise RefusedError(msg)
