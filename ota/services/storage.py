"""Contents of the blob store, and removal of blobs that no device can request any more, after a grace period.

Two servers may store the same bytes while a third removes them. Adding a reference and removing bytes both
hold the digest's lock meanwhile, so one of them sees what the other has done.
"""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice

from django.db import connection, transaction
from django.db.models import Q

from ota import blobs
from ota.blobs import LocalBlobs
from ota.errors import BlobStoreError
from ota.models import Assignment, Bundle, BundleFile, Delta, Release, Statement
from pki.kernel import actor as actors
from pki.kernel import clock
from pki.services import ledger

_logger = logging.getLogger("muster.storage")
#: bytes without a reference stay so long: an upload, or a patch that is being made, may be about to refer to them
GRACE = timedelta(hours=24)
#: images of a withdrawn release stay so long after it: a device may be in the middle of a download
KEPT = timedelta(days=30)
_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Collected:
    """Result of a collection.

    Args:
        bundles: names of bundles whose files devices can never receive again.
        blobs: how many were removed.
        size: their bytes.
    """

    bundles: tuple[str, ...]
    blobs: int
    size: int


def collect_garbage(*, dry_run: bool = False) -> Collected:
    """Drop the files of bundles that were withdrawn long ago, then remove bytes without a reference.

    Args:
        dry_run: return what would be removed; change nothing.
    """
    if not dry_run:
        blobs.blob_store().sweep((clock.now() - GRACE).timestamp())
    retired = list(_retired())
    if not dry_run:
        for bundle in retired:
            _give_up(bundle)
    going = {file.sha256 for bundle in retired for file in bundle.files.all()} if dry_run else set()
    removed = [blob for blob in _unreferenced(going) if dry_run or _remove(blob)]
    collected = Collected(tuple(map(str, retired)), len(removed), sum(blob.size for blob in removed))
    if removed and not dry_run:
        _logger.info("blobs were collected", extra={"blobs": collected.blobs, "bytes": collected.size})
    return collected


def lock_digests(digests: Iterable[str]) -> None:
    """Lock digests until the transaction ends; SQLite has only one writer anyway."""
    if connection.vendor != "postgresql":
        return
    with connection.cursor() as cursor:
        for digest in sorted(set(digests)):
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [int(digest[:16], 16) - (1 << 63)])


def forget_bytes(digests: Iterable[str]) -> None:
    """Remove bytes that were stored in vain, unless something else refers to them by now."""
    for digest in digests:
        with transaction.atomic():
            lock_digests([digest])
            if not _referenced([digest]):
                blobs.blob_store().remove(digest)


def move_blobs(source: LocalBlobs) -> Iterator[blobs.StoredBlob]:
    """Move blobs from a folder into the present store, one by one, each compared with its digest; yield what went.

    Cut short it loses nothing: a blob leaves the folder when the store has it whole.

    Raises:
        BlobStoreError: the store does not take them, or a file is not what its name says.
    """
    target = blobs.blob_store()
    for blob in list(source.listed()):
        with source.path(blob.sha256).open("rb") as stream, target.staging() as area:
            staged = target.stage(stream, area, blob.size)
            if staged.sha256 != blob.sha256:
                msg = (
                    f"The file {blob.sha256} in the folder does not match its digest. Restore or remove it, then try "
                    "again."
                )
                raise BlobStoreError(msg)
            target.adopt(staged)
        if target.size(blob.sha256) == blob.size:
            source.remove(blob.sha256)
            yield blob


def _retired() -> Iterator[Bundle]:
    """Yield bundles of releases that were withdrawn long ago, and that no open action names."""
    before = clock.now() - KEPT
    signed = Statement.objects.filter(
        kind=Statement.Kind.WITHDRAWAL, state=Statement.State.PUBLISHED, published_at__lt=before
    )
    never = Q(release__published_at__isnull=True, release__created_at__lt=before)
    gone = Bundle.objects.filter(Q(release__statements__in=signed) | never, release__state=Release.State.WITHDRAWN)
    named = Assignment.objects.filter(closed_at__isnull=True).values("bundle_id")
    kept = BundleFile.objects.filter(collected_at__isnull=True).values("bundle_id")
    rows = gone.filter(pk__in=kept).exclude(pk__in=named).select_related("domain")
    yield from rows.distinct().prefetch_related("files").order_by("pk")


def _give_up(bundle: Bundle) -> None:
    with transaction.atomic():
        if Assignment.objects.filter(bundle=bundle, closed_at__isnull=True).exists():
            return
        bundle.files.filter(collected_at__isnull=True).update(collected_at=clock.now())
        actor = actors.system_actor(bundle.domain.slug, "storage")
        detail = {"name": bundle.name, "version": bundle.version, "digest": bundle.digest}
        ledger.record(actor=actor, action="bundle.collected", thing=("bundle", bundle.public_id), detail=detail)


def _unreferenced(going: set[str]) -> Iterator[blobs.StoredBlob]:
    """Yield bytes older than the grace period to which nothing, or only what is removed now (``going``), refers."""
    before = clock.now() - GRACE
    old = (blob for blob in blobs.blob_store().listed() if blob.since < before)
    while some := list(islice(old, _AT_ONCE)):
        known = _referenced([blob.sha256 for blob in some]) - going
        yield from (blob for blob in some if blob.sha256 not in known)


def _remove(blob: blobs.StoredBlob) -> bool:
    """Remove bytes if still nothing refers to them."""
    with transaction.atomic():
        lock_digests([blob.sha256])
        if _referenced([blob.sha256]):
            return False
        blobs.blob_store().remove(blob.sha256)
    return True


def _referenced(digests: list[str]) -> set[str]:
    files = BundleFile.objects.filter(sha256__in=digests, collected_at__isnull=True)
    patches = Delta.objects.filter(sha256__in=digests)
    return set(files.values_list("sha256", flat=True)) | set(patches.values_list("sha256", flat=True))
