"""Content by its SHA-256. Embedded: a local folder. Grown: a bucket (``FLEET_BLOBS=s3://…``)."""

import functools
import os
from pathlib import Path
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from ota.blobs.local import LocalBlobs
from ota.blobs.s3 import BucketPrefix, S3Blobs
from ota.blobs.staging import Area, Staged, StoredBlob
from ota.blobs.store import Blobs

__all__ = [
    "Area",
    "Blobs",
    "BucketPrefix",
    "LocalBlobs",
    "S3Blobs",
    "Staged",
    "StoredBlob",
    "blob_store",
    "configured_bucket",
]

SCHEME = "s3://"


def blob_store() -> Blobs:
    """Return the blob store of this server."""
    folder, where = settings.FLEET_DIR / "blobs", configured_bucket()
    # A client of the library must not be shared with a parent process.
    return _bucket(folder, where, os.getpid()) if where else LocalBlobs(folder)


def configured_bucket() -> BucketPrefix | None:
    """Return the bucket that the settings name, or None for the local folder."""
    address = settings.FLEET_BLOBS
    if not address:
        return None
    bucket, _, prefix = address.removeprefix(SCHEME).partition("/")
    if not address.startswith(SCHEME) or not bucket:
        msg = "FLEET_BLOBS must be empty (local folder), s3://BUCKET or s3://BUCKET/PREFIX."
        raise ImproperlyConfigured(msg)
    for endpoint in (settings.FLEET_S3_ENDPOINT, settings.FLEET_S3_DEVICE_ENDPOINT):
        if endpoint and not _private(endpoint):
            msg = f"{endpoint}: presigned URLs are secrets. Use https://, or http:// on this machine only."
            raise ImproperlyConfigured(msg)
    return BucketPrefix(
        bucket,
        f"{prefix.strip('/')}/" if prefix.strip("/") else "",
        settings.FLEET_S3_ENDPOINT,
        settings.FLEET_S3_DEVICE_ENDPOINT,
        settings.FLEET_S3_REGION,
        settings.FLEET_S3_ENCRYPTION,
    )


def _private(endpoint: str) -> bool:
    parts = urlsplit(endpoint)
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in {"localhost", "127.0.0.1", "::1"})


@functools.lru_cache(maxsize=4)
def _bucket(folder: Path, where: BucketPrefix, _process: int) -> S3Blobs:
    return S3Blobs(folder, where)
