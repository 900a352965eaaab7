"""Delete bundles that were never released: what officers have published stays for ever.

A bundle that was typed wrong (its counter, its version) goes with its unpublished release, and its bytes with it when
nothing else refers to them. The audit log keeps that it was here.
"""

from django.db import transaction

from ota.errors import ReleaseStateError
from ota.models import (
    Assignment,
    Bundle,
    BundleFile,
    BundleHardware,
    Release,
    Rollout,
    Statement,
    StatementSignature,
)
from ota.selectors import bundles as rows
from ota.selectors import parts
from ota.services import freshness, storage
from pki.kernel.actor import Actor, Role
from pki.services import ledger


def delete_bundle(*, actor: Actor, bundle: Bundle) -> None:
    """Delete a bundle that was never published, with what was prepared for it.

    Args:
        actor: an operator or a release officer; a release officer only once officers have signed something about it.
        bundle: what was uploaded.

    Raises:
        ReleaseStateError: it was published or rolled out, or is a part of a composite.
    """
    actor.require(Role.OPERATOR, Role.RELEASE_OFFICER)
    with transaction.atomic():
        known = rows.bundle(actor.domain, bundle.public_id)
        bundle = Bundle.objects.select_for_update().select_related("domain").get(pk=known.pk)
        statements = Statement.objects.filter(release__bundle=bundle).select_for_update()
        signed = StatementSignature.objects.filter(statement__in=[one.pk for one in statements])
        _demand_unreleased(bundle)
        if signed.exists():
            actor.require(Role.RELEASE_OFFICER)
        detail = {"name": bundle.name, "version": bundle.version, "digest": bundle.digest}
        digests = sorted(set(bundle.files.values_list("sha256", flat=True)))
        thing = ("bundle", str(bundle.public_id))
        signed.delete()
        Statement.objects.filter(release__bundle=bundle).delete()
        for table in (Release, BundleFile, BundleHardware):
            table.objects.filter(bundle=bundle).delete()
        bundle.delete()
        detail["security_counter"] = str(known.security_counter)
        ledger.record(actor=actor, action="bundle.deleted", thing=thing, detail=detail)
    storage.forget(digests)


def may_be_deleted(bundle: Bundle) -> bool:
    """Say whether a bundle was never released, so that it can be deleted."""
    return not _hindrance(bundle)


def _demand_unreleased(bundle: Bundle) -> None:
    if why := _hindrance(bundle):
        msg = f"{bundle} cannot be deleted: {why}."
        raise ReleaseStateError(msg)


def _listed(bundle: Bundle) -> bool:
    """Say whether officers have signed this very bundle, whatever the rows say."""
    found = freshness.repository(bundle.domain.slug).listed(bundle.target_path)
    return found is not None and found.hashes.get("sha256") == bundle.digest


def _hindrance(bundle: Bundle) -> str:
    """Return why a bundle has to stay, or nothing."""
    if Release.objects.filter(bundle=bundle, published_at__isnull=False).exists() or _listed(bundle):
        return "it was published. Withdraw its release instead"
    if Statement.objects.filter(release__bundle=bundle, state=Statement.State.PUBLISHED).exists():
        return "officers have published a statement about it"
    named = Assignment.objects.filter(bundle=bundle) | Assignment.objects.filter(previous_bundle=bundle)
    if named.exists() or Rollout.objects.filter(release__bundle=bundle).exists():
        return "a rollout names it"
    if whole := parts.wholes_of(bundle):
        return f"it is a part of {whole[0]}. Delete that first"
    return ""
