"""Bundles, the keys that vouch for them, and releases."""

import json
from typing import Any, TypeVar
from uuid import UUID

from django.db.models import Model, QuerySet

from ota.models import Bundle, Release, TrustKey
from pki.kernel.errors import InvalidError, NotFoundError

_Row = TypeVar("_Row", bound=Model)


def bundles(slug: str) -> QuerySet[Bundle]:
    """Return a domain's bundles, newest first, with their files, hardware models and release."""
    rows = Bundle.objects.filter(domain__slug=slug).select_related("release")
    return rows.prefetch_related("files", "hardware_models").order_by("-id")


def bundle(slug: str, public_id: str | UUID) -> Bundle:
    """Return one bundle of a domain.

    Raises:
        NotFoundError: there is none of that id in this domain.
    """
    return _one(bundles(slug), public_id, "bundle")


def releases(slug: str) -> QuerySet[Release]:
    """Return a domain's releases, newest first, with bundle and signatures."""
    rows = Release.objects.filter(domain__slug=slug).select_related("bundle", "domain")
    return rows.prefetch_related("signatures", "bundle__files", "bundle__hardware_models").order_by("-id")


def release(slug: str, public_id: str | UUID) -> Release:
    """Return one release of a domain.

    Raises:
        NotFoundError: there is none of that id in this domain.
    """
    return _one(releases(slug), public_id, "release")


def prepared(release: Release) -> dict[str, Any]:
    """Return what officers sign with ``muster-sign``: the unsigned metadata and the digest of its bytes."""
    return {
        "release": str(release.public_id),
        "digest": release.digest,
        "metadata": json.loads(bytes(release.prepared)),
    }


def trust_keys(slug: str) -> QuerySet[TrustKey]:
    """Return a domain's trust keys, newest first."""
    return TrustKey.objects.filter(domain__slug=slug).order_by("-id")


def trust_key(slug: str, public_id: str | UUID) -> TrustKey:
    """Return one trust key of a domain.

    Raises:
        NotFoundError: there is none of that id in this domain.
    """
    return _one(trust_keys(slug), public_id, "trust key")


def vouching_keys(slug: str, format_: str, component: str) -> list[TrustKey]:
    """Return the keys that may vouch for an artefact: of its format, for its component or for any."""
    rows = trust_keys(slug).filter(format=format_, withdrawn_at__isnull=True)
    return list(rows.filter(component__in=[component, ""]))


def _one(rows: QuerySet[_Row], public_id: str | UUID, kind: str) -> _Row:
    try:
        key = public_id if isinstance(public_id, UUID) else UUID(public_id)
    except ValueError as error:
        msg = "This is not a UUID."
        raise InvalidError(msg) from error
    found = rows.filter(public_id=key).first()
    if found is None:
        msg = f"There is no such {kind}."
        raise NotFoundError(msg)
    return found
