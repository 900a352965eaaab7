"""Content by its SHA-256. Embedded: a local folder; nothing is found by a name that someone else chose."""

from django.conf import settings

from ota.blobs.local import LocalBlobs, Staged

__all__ = ["LocalBlobs", "Staged", "local"]


def local() -> LocalBlobs:
    """Return the blob store of this server."""
    return LocalBlobs(settings.FLEET_DIR / "blobs")
