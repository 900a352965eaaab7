"""Delete bundles that were never released: what officers have published stays forever.

A bundle that was typed wrong (its counter, its version) goes with its unpublished release, and its bytes with it when
nothing else refers to them. The audit log keeps that it was here.
"""

from collections.abc import Iterable

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

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
from ota.selectors import parts
from ota.services import online_roles, storage
from pki.kernel.actor import Actor
from pki.kernel.permissions import Action, may_do, permitted_rows, pick_one, require_action
from pki.services import ledger


def delete_bundle(*, actor: Actor, bundle: Bundle) -> None:
    """Delete a bundle that was never published, with what was prepared for it.

    Args:
        actor: an operator or a release officer; a release officer only once officers have signed something about it.
        bundle: what was uploaded.

    Raises:
        ReleaseStateError: it was published or rolled out, or is a part of a composite.
    """
    deletable = permitted_rows(actor, Action.DELETE_BUNDLE, Bundle.objects.select_related("domain"))
    with transaction.atomic():
        # Only the row of the bundle: a publication holds the domain's row while it waits for other rows.
        bundle = pick_one(deletable.select_for_update(of=("self",)), bundle)
        statements = Statement.objects.filter(release__bundle=bundle).select_for_update(of=("self",))
        signed = _signatures([statement.pk for statement in statements])
        _demand_unreleased(bundle)
        if signed.exists():
            require_action(actor, Action.DELETE_SIGNED_BUNDLE)
        detail = {"name": bundle.name, "version": bundle.version, "digest": bundle.digest}
        detail["security_counter"] = str(bundle.security_counter)
        digests = sorted(set(bundle.files.values_list("sha256", flat=True)))
        thing = ("bundle", str(bundle.public_id))
        signed.delete()
        Statement.objects.filter(release__bundle=bundle).delete()
        for table in (Release, BundleFile, BundleHardware):
            table.objects.filter(bundle=bundle).delete()
        bundle.delete()
        ledger.record(actor=actor, action="bundle.deleted", thing=thing, detail=detail)
    storage.forget_bytes(digests)


def may_be_deleted(*, actor: Actor, bundle: Bundle) -> bool:
    """Return whether an actor may delete a bundle: it was never released, and the roles allow it."""
    if not may_do(actor, Action.DELETE_BUNDLE) or _hindrance(bundle):
        return False
    statements = Statement.objects.filter(release__bundle=bundle).values_list("pk", flat=True)
    return may_do(actor, Action.DELETE_SIGNED_BUNDLE) or not _signatures(statements).exists()


def _signatures(statements: Iterable[int]) -> QuerySet[StatementSignature]:
    """Return the officers' signatures of statements (internal ids)."""
    return StatementSignature.objects.filter(statement__in=list(statements))


def _demand_unreleased(bundle: Bundle) -> None:
    if why := _hindrance(bundle):
        msg = f"{bundle} cannot be deleted: {why}."
        raise ReleaseStateError(msg)


def _hindrance(bundle: Bundle) -> str:
    """Return why a bundle cannot be deleted and what to do instead; empty if it can."""
    statements = Statement.objects.filter(release=OuterRef("pk"), state=Statement.State.PUBLISHED)
    rollouts = Rollout.objects.filter(release=OuterRef("pk"))
    # One question for all that hangs on the release: the page of a bundle asks it whenever it is shown.
    rows = Release.objects.annotate(stated=Exists(statements), planned=Exists(rollouts))
    release = rows.filter(bundle=bundle).first()
    if (release and release.published_at) or online_roles.is_listed(bundle):
        return "it was published. Withdraw its release instead"
    if release and release.stated:
        published = Statement.objects.filter(release=release, state=Statement.State.PUBLISHED).order_by("pk")[0]
        what = f"officers have published the statement {published.public_id} ({published.summary})"
        return f"{what}, and the audit log refers to it. Keep it, and upload your change under a new version"
    if named := _rollout(bundle, planned=release is not None and release.planned):
        return f"{named}, and its history stays. Keep it, and upload your change under a new version"
    if whole := parts.whole_with(bundle):
        return f"it is a part of {whole}. Delete that first"
    return ""


def _rollout(bundle: Bundle, *, planned: bool) -> str:
    """Return the rollout or the device's action that names a bundle; empty if there is none.

    Args:
        bundle: in question.
        planned: whether a rollout of its release exists.
    """
    rollout = Rollout.objects.filter(release__bundle=bundle).order_by("pk").first() if planned else None
    named = Assignment.objects.filter(Q(bundle=bundle) | Q(previous_bundle=bundle)).select_related("device", "rollout")
    action = None if rollout else named.order_by("pk").first()
    if action is not None and action.rollout is None:
        return f"the action {action.action_id} of the device {action.device} names it"
    rollout = rollout or (action.rollout if action else None)
    return f"the rollout {rollout.name!r} ({rollout.public_id}) names it" if rollout else ""
