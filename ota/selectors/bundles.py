"""Bundles, the keys that vouch for them, and releases."""

from uuid import UUID

from django.db.models import Prefetch, Q, QuerySet

from ota.models import Bundle, Release, Statement, TrustKey
from ota.selectors.finding import one
from pki.kernel.errors import InvalidError

_MOST_WORDS = 5


def bundles(slug: str) -> QuerySet[Bundle]:
    """Return a domain's bundles, newest first, with their files, hardware models and release."""
    rows = Bundle.objects.filter(domain__slug=slug).select_related("release")
    return rows.prefetch_related("files", "hardware_models", "arenas").order_by("-id")


def matching(slug: str, *, words: str = "", kind: str = "", release: str = "") -> QuerySet[Bundle]:
    """Return those of a domain's bundles that a list asks for.

    Args:
        slug: of the domain.
        words: each occurs in name, version or component.
        kind: such as ``model``; empty for any.
        release: state of the release, or ``none`` for bundles without one; empty for any.

    Raises:
        InvalidError: the filter is no text.
    """
    if "\0" in words + kind + release:
        msg = "The filter holds a NUL, which no text has."
        raise InvalidError(msg)
    rows = bundles(slug)
    for word in words.split()[:_MOST_WORDS]:
        rows = rows.filter(Q(name__icontains=word) | Q(version__icontains=word) | Q(component__icontains=word))
    if kind:
        rows = rows.filter(kind=kind)
    if release:
        rows = rows.filter(release=None) if release == "none" else rows.filter(release__state=release)
    return rows


def bundle(slug: str, public_id: str | UUID) -> Bundle:
    """Return one bundle of a domain.

    Raises:
        NotFoundError: there is none of that id in this domain.
    """
    return one(bundles(slug).prefetch_related(*_statements("release__")), public_id, "bundle")


def releases(slug: str) -> QuerySet[Release]:
    """Return a domain's releases, newest first, with bundle and signatures."""
    rows = Release.objects.filter(domain__slug=slug).select_related("bundle", "domain")
    rows = rows.prefetch_related("bundle__files", "bundle__hardware_models", "bundle__arenas")
    return rows.prefetch_related(*_statements()).order_by("-id")


def release(slug: str, public_id: str | UUID) -> Release:
    """Return one release of a domain.

    Raises:
        NotFoundError: there is none of that id in this domain.
    """
    return one(releases(slug), public_id, "release")


def _statements(where: str = "") -> "tuple[Prefetch[str], str]":
    """Fetch statements without their papers, which may be long, and who signed them."""
    return Prefetch(f"{where}statements", Statement.objects.defer("paper")), f"{where}statements__signatures"


def trust_keys(slug: str) -> QuerySet[TrustKey]:
    """Return a domain's trust keys, newest first."""
    return TrustKey.objects.filter(domain__slug=slug).order_by("-id")


def trust_key(slug: str, public_id: str | UUID) -> TrustKey:
    """Return one trust key of a domain.

    Raises:
        NotFoundError: there is none of that id in this domain.
    """
    return one(trust_keys(slug), public_id, "trust key")


def vouching_keys(slug: str, format_: str, component: str, product: str) -> list[TrustKey]:
    """Return the keys that may vouch for an artefact: of its format, for its component and product, or for any."""
    rows = trust_keys(slug).filter(format=format_, withdrawn_at__isnull=True)
    return list(rows.filter(component__in=[component, ""], product__in=[product, ""]))
