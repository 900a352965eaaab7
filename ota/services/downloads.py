"""Authorise downloads: only files of an action that is open and offered to this device."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from django.conf import settings

from devices.models import Device
from ota import blobs
from ota.blobs.verified import Stamp, verify_bytes
from ota.deltas import heads
from ota.errors import BlobStoreError
from ota.models import Assignment, BundleFile, Delta
from ota.selectors import parts, signed
from ota.services import offers
from pki.kernel.actor import Actor
from pki.kernel.errors import NotFoundError


@dataclass(frozen=True, slots=True)
class Download:
    """A file that a device may fetch now.

    Args:
        path: of the blob on this machine; None when it is in a bucket.
        size: bytes.
        sha256: hex; also the entity tag of our own protocol.
        sha1: hex; the entity tag of DDI.
        name: file name for people.
        stamp: of the local file when its bytes were verified; the sender compares it after each read.
    """

    path: Path | None
    size: int
    sha256: str
    sha1: str
    name: str
    stamp: Stamp = ()


def presigned_address(file: Download) -> str:
    """Return a presigned URL of an authorised file; empty if the device gateway must send it.

    It is a secret for some seconds: anyone who knows it gets the bytes, so it is never logged.
    """
    if file.path is not None or not settings.FLEET_BLOBS_DIRECT:
        return ""
    return blobs.blob_store().address(file.sha256, settings.FLEET_BLOBS_ADDRESS_S)


def read_download(file: Download, start: int, length: int) -> Iterator[bytes]:
    """Yield a part of an authorised file from the folder or the bucket; a bucket waits for the network."""
    return blobs.blob_store().read(file.sha256, start, length)


def read_end(file: Download, start: int) -> Iterator[bytes]:
    """Yield a file from a bucket from a byte to its end, for a client that compares no digest of officers (DDI).

    The whole file is hashed, and the last piece is held back until the digest is the signed one: nobody gets all of
    other bytes. A download that resumes in the middle costs reading the bytes before it.

    Raises:
        BlobStoreError: the bucket holds other bytes.
    """
    digest, at, held = hashlib.sha256(), 0, b""
    for chunk in blobs.blob_store().read(file.sha256, 0, file.size):
        digest.update(chunk)
        piece = chunk[max(start - at, 0) :]
        at += len(chunk)
        if piece:
            if held:
                yield held
            held = piece
    if digest.hexdigest() != file.sha256:
        msg = f"The blob store returned data that does not match {file.sha256}. Restore that object from its source."
        raise BlobStoreError(msg)
    yield held


def by_digest(*, actor: Actor, device: Device, sha256: str) -> Download:
    """Return a file of the device's current action by its SHA-256.

    Raises:
        NotFoundError: nothing that this device may fetch now has that digest.
    """
    patch = _patch(actor, device, sha256)
    return patch or _download(actor, device, sha256=sha256)


def current_image(*, actor: Actor, device: Device) -> Download:
    """Return the image of the device's current action: where a SUIT manifest points to.

    Raises:
        NotFoundError: the device has no open action.
    """
    return _download(actor, device, role=BundleFile.Role.IMAGE)


def file_by_name(*, actor: Actor, device: Device, bundle_id: int, name: str) -> Download:
    """Return a file of the device's current action by bundle number and file name (DDI).

    Raises:
        NotFoundError: nothing that this device may fetch now has that name.
    """
    return _download(actor, device, bundle_id=bundle_id, path=name)


def _patch(actor: Actor, device: Device, sha256: str) -> Download | None:
    """Return a patch to the image of the device's current action.

    The rows say which bytes are one, and the bytes have to agree: else a row could name the image of a bundle that
    that was never released, and devices would fetch it as a patch to what they may receive.
    """
    row = Delta.objects.filter(domain=device.domain_id, sha256=sha256, trouble="").first()
    if row is None or BundleFile.objects.filter(sha256=sha256).exists():
        return None
    actor.require_device(device.key)
    assignment = offers.current_offer(device)
    image = assignment.bundle.image if assignment else None
    if image is None or image.sha256 != row.result:
        return None
    file = _verified(Download(blobs.blob_store().path(sha256), row.size, sha256, "", f"{row.result[:16]}.patch"))
    return file if _makes(row.format, sha256, row.size, image.size) else None


@lru_cache(maxsize=1024)
def _makes(format_: str, sha256: str, size: int, length: int) -> bool:
    """Return whether stored bytes are a patch that makes an image of a length."""
    data = b"".join(blobs.blob_store().read(sha256, 0, heads.bytes_needed(format_, size)))
    return heads.is_patch(format_, data, size, length)


def _download(actor: Actor, device: Device, **wanted: object) -> Download:
    actor.require_device(device.key)
    assignment = offers.current_offer(device)
    alone = wanted.get("role") or wanted.get("bundle_id")  # the action's own image, or a foreign client's artefact
    offered = [] if assignment is None else [assignment.bundle] if alone else parts.bundle_and_parts(assignment.bundle)
    rows = BundleFile.objects.filter(bundle__in=offered, collected_at__isnull=True)
    file = rows.filter(**wanted).select_related("bundle").order_by("id").first() if offered else None
    if assignment is None or file is None or not _is_signed(device, assignment, file):
        msg = "There is no such file for this device now."
        raise NotFoundError(msg)
    return _verified(Download(blobs.blob_store().path(file.sha256), file.size, file.sha256, file.sha1, file.path))


def _is_signed(device: Device, assignment: Assignment, file: BundleFile) -> bool:
    """Return whether officers have signed a file, by the manifest that was checked: rows may change meanwhile."""
    if file.bundle_id == assignment.bundle_id:
        return signed.lists_file(assignment.bundle, file)
    return not signed.bundle_refusal(file.bundle, device) and signed.lists_file(file.bundle, file)


def _verified(file: Download) -> Download:
    """Return a download whose bytes are those that officers signed; the device itself checks what comes from a bucket.

    Raises:
        BlobStoreError: the stored file holds other bytes.
    """
    return file if file.path is None else replace(file, stamp=verify_bytes(file.path, file.sha256))
