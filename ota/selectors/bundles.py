"""Bundles, the keys that verify them, and releases."""

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from django.db.models import Prefetch, Q, QuerySet

from ota.manifest import Manifest
from ota.models import Bundle, Release, Statement, TrustKey
from pki.kernel.actor import Actor
from pki.kernel.filters import choice_field, text_field
from pki.kernel.permissions import Action, permitted_rows
from pki.selectors.finding import named_rows, one_by_id

_MOST_WORDS = 5


@dataclass(frozen=True, slots=True)
class BundleFilter:
    """The filter of the bundle list."""

    q: str = text_field("Words to find in name, version or component; all of them must occur.", "Bundle", most=100)
    kind: str = choice_field("The type of content in the bundle.", Bundle.Kind.values, "Bundle.kind")
    release: str = choice_field(
        "The state of its release; `none` for bundles without a release.",
        ("none", *Release.State.values),
        "Release.state",
    )


def list_bundles(*, actor: Actor, wanted: BundleFilter = BundleFilter()) -> QuerySet[Bundle]:
    """Return the bundles that match, newest first, with their files, hardware models and release."""
    rows = permitted_rows(actor, Action.READ, Bundle.objects.all()).select_related("release", "domain")
    for word in wanted.q.split()[:_MOST_WORDS]:
        rows = rows.filter(Q(name__icontains=word) | Q(version__icontains=word) | Q(component__icontains=word))
    if wanted.kind:
        rows = rows.filter(kind=wanted.kind)
    if wanted.release == "none":
        rows = rows.filter(release=None)
    elif wanted.release:
        rows = rows.filter(release__state=wanted.release)
    return rows.prefetch_related("files", "hardware_models", "arenas").order_by("-id")


def get_bundle(*, actor: Actor, public_id: str | UUID) -> Bundle:
    """Return one bundle of a domain.

    Raises:
        NotFoundError: there is none of that id in this domain.
    """
    return one_by_id(list_bundles(actor=actor).prefetch_related(*_statements("release__")), public_id, "bundle")


def bundle_names(*, actor: Actor, public_ids: Iterable[str | UUID]) -> dict[str, str]:
    """Return name and version of bundles, by public id; omit bundles that the actor may not see."""
    rows = named_rows(permitted_rows(actor, Action.READ, Bundle.objects.all()), public_ids)
    return {str(key): f"{name} {version}" for key, name, version in rows.values_list("public_id", "name", "version")}


@dataclass(frozen=True, slots=True)
class ReleaseFilter:
    """The filter of the release list."""

    state: str = choice_field("The state of the release.", Release.State.values, "Release.state")


def list_releases(*, actor: Actor, wanted: ReleaseFilter = ReleaseFilter()) -> QuerySet[Release]:
    """Return the releases that match, newest first, with bundle and signatures."""
    rows = permitted_rows(actor, Action.READ, Release.objects.all()).select_related("bundle", "domain")
    rows = rows.filter(state=wanted.state) if wanted.state else rows
    rows = rows.prefetch_related("bundle__files", "bundle__hardware_models", "bundle__arenas")
    return rows.prefetch_related(*_statements()).order_by("-id")


def get_release(*, actor: Actor, public_id: str | UUID) -> Release:
    """Return one release of a domain.

    Raises:
        NotFoundError: there is none of that id in this domain.
    """
    return one_by_id(list_releases(actor=actor), public_id, "release")


def _statements(where: str = "") -> "tuple[Prefetch[str], str]":
    """Fetch statements with their signers, without the signing requests, which may be long."""
    return Prefetch(f"{where}statements", Statement.objects.defer("paper")), f"{where}statements__signatures"


def trust_keys(*, actor: Actor, in_use: bool = False) -> QuerySet[TrustKey]:
    """Return the keys that verify artefacts, newest first; ``in_use`` omits withdrawn ones."""
    rows = permitted_rows(actor, Action.READ, TrustKey.objects.all()).order_by("-id")
    return rows.filter(withdrawn_at__isnull=True) if in_use else rows


def vouching_keys(*, actor: Actor, manifest: Manifest) -> list[TrustKey]:
    """Return the keys that may verify an artefact: of its format, for its component and product or for all."""
    rows = trust_keys(actor=actor, in_use=True).filter(format=manifest.format)
    return list(rows.filter(component__in=[manifest.component, ""], product__in=[manifest.id, ""]))
