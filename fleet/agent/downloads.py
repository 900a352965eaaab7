"""Bring an image into the inactive slot: from a mirror or the server, resumed, capped, hashed."""

import contextlib
import hashlib
import os
import shutil
from pathlib import Path
from typing import BinaryIO

from fleet.agent import blobs, patches, slots
from fleet.agent.agreement import Assignment
from fleet.agent.coap import CoapTransport
from fleet.agent.errors import AnswerError, RefusedError, TransportError
from fleet.agent.transport import Transport
from pki.kernel import files

_PARTIAL = 206


def fetch(assignment: Assignment, mirror: Transport | None, server: Transport | CoapTransport, target: Path) -> None:
    """Write the assigned image into a file; its full hash decides.

    A mirror is nobody whom the device trusts: it may save the server's line, but never lie about the bytes.

    Raises:
        RefusedError: the bytes that came are not the signed ones.
        TransportError: they did not all come; what came is kept and continued next time.
    """
    if _there(assignment, target):
        return
    part = target.with_suffix(".part")
    marker = target.with_suffix(".part-of")
    if not marker.exists() or marker.read_text() != assignment.sha256:
        part.unlink(missing_ok=True)
        marker.write_text(assignment.sha256)
    with slots.open_part(part) as file:  # written, hashed and named through this one descriptor
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


def bring(
    assignment: Assignment, mirror: Transport | None, server: Transport | CoapTransport, pair: slots.Slots
) -> tuple[slots.Image, dict[str, str] | None]:
    """Write the assigned image into the slot that does not run, by its patch if there is one of use, and its vectors.

    Returns:
        What is known of the image, and what to report of the patch (None when there was none to try).

    Raises:
        RefusedError: the bytes that came are not the signed ones.
        TransportError: they did not all come; what came is kept and continued next time.
    """
    pair.clear()
    running = pair.running
    if running is not None and running.sha256 == assignment.sha256:
        _copied(pair)  # the same bytes under another name or counter: nothing needs to come
    # A mirror nearby costs the server's line nothing, so that a patch would save nothing there.
    patched = None if mirror or _there(assignment, pair.inactive) else patches.fetch(assignment, server, pair)
    if patched is None or patched["trouble"]:
        fetch(assignment, mirror, server, pair.inactive)
    vectors = golden(assignment, server, pair)
    facts = (assignment.version, assignment.sha256, assignment.counter, vectors)
    return slots.Image(*facts, requires=[list(one) for one in assignment.requires]), patched


def _copied(pair: slots.Slots) -> None:
    part = pair.inactive.with_suffix(".copy")  # not where another download may be waiting to go on
    with files.open_plain(pair.image) as image, slots.open_part(part) as file:
        file.truncate(0)
        shutil.copyfileobj(image, file)
        slots.put_in_place(file, part, pair.inactive)


def _there(assignment: Assignment, target: Path) -> bool:
    """Say whether the very bytes lie in the slot already: they came before, and something else broke off."""
    if not target.exists() or target.stat().st_size != assignment.length:
        return False
    with files.open_plain(target) as file:
        return slots.digest_of(file) == assignment.sha256


def golden(assignment: Assignment, server: Transport | CoapTransport, pair: slots.Slots) -> str:
    """Bring the golden vectors of a model beside the slot that does not run; return their SHA-256, or nothing.

    Raises:
        RefusedError: the bytes that came are not the signed ones.
        TransportError: they did not all come.
    """
    wanted = assignment.golden
    if wanted is None:
        return ""
    data = b"".join(chunk for _, chunk in blobs.stream(server, wanted.sha256, wanted.length))
    if hashlib.sha256(data).hexdigest() != wanted.sha256:
        msg = f"the golden vectors of {assignment.path} are not the signed ones"
        raise RefusedError(msg)
    pair.put_golden(data)
    return wanted.sha256


def _append(assignment: Assignment, source: Transport | CoapTransport, file: BinaryIO, *, mirrored: bool) -> None:
    have = file.seek(0, os.SEEK_END)
    if have >= assignment.length:
        return
    headers = {"Range": f"bytes={have}-", "If-Range": f'"{assignment.sha256}"'} if have else {}
    if mirrored:
        opened = source.stream(f"/{assignment.sha256}", assignment.length, headers)
    else:
        opened = blobs.stream(source, assignment.sha256, assignment.length, headers)
    with contextlib.closing(opened) as chunks:
        for status, chunk in chunks:
            if have and status != _PARTIAL:
                file.truncate(0)
                file.seek(0)
                have = 0
            if file.tell() + len(chunk) > assignment.length:
                file.truncate(0)
                msg = f"more bytes came for {assignment.path} than were signed"
                raise RefusedError(msg)
            file.write(chunk)


def _check(assignment: Assignment, file: BinaryIO) -> None:
    size = file.seek(0, os.SEEK_END)
    if size < assignment.length:
        msg = f"{size} of {assignment.length} bytes of {assignment.path} came"
        raise TransportError(msg)
    file.seek(0)
    found = slots.digest_of(file)
    if found != assignment.sha256:
        msg = f"the bytes of {assignment.path} are not the signed ones (sha256 {found[:12]}…)"
        raise RefusedError(msg)
