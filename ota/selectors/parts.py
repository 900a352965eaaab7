"""The bundles that a composite names, in its order, by the ``parts.json`` that officers sign with it.

Rows of the database say nothing of what the parts are: the digest of ``parts.json`` is in the ``bundle.json`` of
the composite, and a part is the bundle of exactly the digest and the names in it.
"""

import hashlib
from functools import lru_cache

from django.db.models import Q

from ota import blobs
from ota.contract import composite
from ota.contract.composite import CompositePart
from ota.errors import BlobStoreError
from ota.models import Bundle, BundleFile, Release
from pki.kernel.errors import DomainError


def named_parts(bundle: Bundle) -> tuple[CompositePart, ...]:
    """Return the parts that a composite names; empty for other bundles.

    Raises:
        DomainError: its ``parts.json`` is not there, or holds other bytes than its ``bundle.json`` says.
    """
    if bundle.kind != Bundle.Kind.COMPOSITE:
        return ()
    image = next(file for file in bundle.manifest["files"] if file["role"] == BundleFile.Role.IMAGE)
    return _read(image["sha256"], image["size"])


def present_parts(bundle: Bundle) -> list[Bundle]:
    """Return the stored parts of a composite; errors as of ``named_parts``."""
    order = {(part.digest, part.path): index for index, part in enumerate(named_parts(bundle))}
    if not order:
        return []
    digests = [digest for digest, _ in order]
    rows = Bundle.objects.filter(domain=bundle.domain_id, digest__in=digests).select_related("release", "domain")
    rows = rows.prefetch_related("files", "hardware_models", "arenas")
    here = [row for row in rows if (row.digest, row.target_path) in order]
    return sorted(here, key=lambda one: order[one.digest, one.target_path])


def parts_of(bundle: Bundle) -> list[Bundle]:
    """Return the parts of a composite; empty for other bundles.

    Raises:
        DomainError: a part no longer exists, or the errors of ``named_parts``.
    """
    here = present_parts(bundle)
    if why := missing_part(bundle, here):
        raise BlobStoreError(why)
    return here


def missing_part(bundle: Bundle, here: list[Bundle]) -> str:
    """Return a sentence about the first missing part; empty if none is missing."""
    digests = {one.digest for one in here}
    gone = next((part for part in named_parts(bundle) if part.digest not in digests), None)
    return f"The part {gone.id} {gone.version} ({gone.component}) of {bundle} no longer exists." if gone else ""


def bundle_and_parts(bundle: Bundle) -> list[Bundle]:
    """Return a bundle and its parts: everything that a device installs with it; errors as of ``of``."""
    return [bundle, *parts_of(bundle)]


def parts_at_hand(bundle: Bundle) -> list[Bundle]:
    """Return the stored parts, for people: empty once the bytes of ``parts.json`` were removed."""
    try:
        return present_parts(bundle)
    except DomainError:
        return []


def whole_with(bundle: Bundle) -> Bundle | None:
    """Return a composite that names a bundle, if any; the database searches, so that no report is loaded."""
    places = (f"facts__parts__{place}__digest" for place in range(composite.MOST))
    condition = Q()
    for place in places:
        condition |= Q(**{place: bundle.digest})
    rows = Bundle.objects.filter(condition, domain=bundle.domain_id, kind=Bundle.Kind.COMPOSITE)
    return rows.only("name", "version", "component").order_by("pk").first()


def is_part_stopped(bundle: Bundle) -> bool:
    """Return whether a part of a composite is not published or no longer exists."""
    try:
        digests = {part.digest for part in named_parts(bundle)}
    except DomainError:
        return True
    if not digests:
        return False
    rows = Bundle.objects.filter(domain=bundle.domain_id, digest__in=digests, release__state=Release.State.PUBLISHED)
    return rows.count() < len(digests)


@lru_cache(maxsize=1024)
def _read(sha256: str, size: int) -> tuple[CompositePart, ...]:
    """Return a parsed ``parts.json``, cached in the process by its digest.

    Raises:
        DomainError: it is missing, or its bytes have another digest.
    """
    data = b"".join(blobs.blob_store().read(sha256, 0, min(size, composite.MAX_PARTS)))
    if hashlib.sha256(data).hexdigest() != sha256:
        msg = f"The stored parts.json {sha256} does not match its digest. Restore it from a backup."
        raise BlobStoreError(msg)
    return composite.read_parts(data)[1]
