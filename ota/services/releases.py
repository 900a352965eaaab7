"""Releases: prepare the documents that officers sign to publish or withdraw a bundle."""

from django.db import transaction
from tuf.api.metadata import Metadata, Targets

from ota import blobs
from ota.errors import RefusedBundleError, ReleaseStateError
from ota.models import Bundle, Release, Statement
from ota.selectors import bundles as rows
from ota.selectors import fitting
from ota.services import backsteps, composite_rules, online_roles, statements, successors
from ota.trust import documents, repository
from ota.trust.prepared import PreparedRequest
from pki.kernel import canonical, clock
from pki.kernel.actor import Actor
from pki.kernel.permissions import Action, require_on
from pki.models import TrustDomain
from pki.services import journal, ledger

MOST_REASON, LONGEST_SUMMARY = 200, 300
#: kinds whose image officers read before they sign; they have no manifest for microcontrollers
_SHOWN = {Bundle.Kind.CONFIG, Bundle.Kind.COMPOSITE}


def prepare_release(*, actor: Actor, bundle: Bundle, raise_floor: bool = False) -> Release:
    """Prepare the hash bin that releases a bundle, for two officers to sign.

    Preparing again returns the release unchanged, or prepares it again (its signatures are void then) when its bin was
    changed meanwhile by another statement.

    Args:
        actor: a release officer.
        bundle: what is to be released.
        raise_floor: from its publication on devices of its hardware refuse every lower counter of its component.

    Raises:
        RefusedBundleError: the bundle is incompatible with hardware that it names, or changes what the model before it
            exchanges with its application, or goes back in version or counter, and does not acknowledge that.
        ReleaseStateError: there is no repository yet, or the release was withdrawn.
    """
    with transaction.atomic():
        bundle = require_on(actor, Action.RELEASE_BUNDLE, Bundle.objects.select_for_update(of=("self",)), bundle)
        _demand_fit(bundle)
        release = Release.objects.filter(bundle=bundle).first() or Release(domain=bundle.domain, bundle=bundle)
        _demand_not_withdrawn(release)
        if is_bundle_listed(bundle):
            return _adopted(actor, release)
        changed = [*backsteps.demand_acknowledged_backsteps(bundle), *successors.demand_acknowledged_changes(bundle)]
        held, targets = _held(bundle, raise_floor=raise_floor)
        # What goes back or changes first: a long name must not push it out.
        summary = "; ".join([*changed, f"release {bundle}"])[:LONGEST_SUMMARY]
        known = release.statement if release.pk else None
        waits = known is not None and known.state == Statement.State.PREPARED and known.summary == summary
        if known and waits and statements.follows_documents(known, held):
            return release
        release.state, release.published_at = Release.State.PREPARED, None
        release.save()
        kind, request = Statement.Kind.RELEASE, _request(bundle, held, targets)
        statements.write_statement(actor=actor, kind=kind, summary=summary, request=request, release=release)
        detail = {"bundle": bundle.digest}
        ledger.record(actor=actor, action="release.prepared", thing=("release", release.public_id), detail=detail)
    return rows.get_release(actor=actor, public_id=release.public_id)


def withdraw(*, actor: Actor, release: Release, reason: str) -> Release:
    """Withdraw a release: it is no longer offered; devices that run it keep it.

    A published one gets a statement for two officers to sign besides: once that is published, devices refuse the bundle
    themselves, whoever assigns it.
    """
    with transaction.atomic():
        related = Release.objects.select_for_update(of=("self",)).select_related("bundle", "domain")
        release = require_on(actor, Action.WITHDRAW_RELEASE, related, release)
        if release.state != Release.State.WITHDRAWN:
            release.state = Release.State.WITHDRAWN
            release.save(update_fields=["state"])
            detail = {"reason": reason[:300]}
            ledger.record(actor=actor, action="release.withdrawn", thing=("release", release.public_id), detail=detail)
        _prepare_withdrawal(actor, release, reason[:MOST_REASON])
    return rows.get_release(actor=actor, public_id=release.public_id)


def is_bundle_listed(bundle: Bundle) -> bool:
    """Return whether the officers' newest bin lists a bundle that is not withdrawn."""
    target = online_roles.published_repository(bundle.domain.slug).listed(bundle.target_path)
    return target == _entry(bundle).target()


def adopt_published(fact: journal.Fact) -> bool:
    """After a restore: mark bundles in the officers' newest bins as published, even if the row differs."""
    domain = TrustDomain.objects.filter(slug=journal.text_of(fact, "domain")).first()
    if domain is None or online_roles.published_repository(domain.slug).targets() is None:
        return False
    waiting = Release.objects.filter(domain=domain, state=Release.State.PREPARED).select_related("bundle__domain")
    releases = [one for one in waiting if is_bundle_listed(one.bundle)]
    for release in releases:
        _mark_published(release)
    return bool(releases)


def _held(bundle: Bundle, *, raise_floor: bool = False) -> tuple[dict[str, Metadata[Targets]], Metadata[Targets]]:
    """Return the current documents that a statement about a bundle changes, and always the targets."""
    store = statements.statement_repository(bundle.domain.slug)
    targets = store.targets()
    role = repository.bin_of(targets.signed, bundle.target_path) if targets else None
    before = store.document(role) if role else None
    if targets is None or role is None or before is None:
        msg = "The hash bin of this bundle is missing, or not signed by the current officers. Renew the targets first."
        raise ReleaseStateError(msg)
    return ({role: before, Targets.type: targets} if raise_floor else {role: before}), targets


def _request(bundle: Bundle, held: dict[str, Metadata[Targets]], targets: Metadata[Targets]) -> PreparedRequest:
    """Return the bin with the bundle in it, and the targets with a higher floor if that is wanted."""
    documents_by_role = {}
    for role, before in held.items():
        number = online_roles.numbers_after(domain=bundle.domain, role=role, published=before.signed.version)
        if role == Targets.type:
            floors = {bundle.component: dict.fromkeys(_classes(bundle), bundle.security_counter)}
            documents_by_role[role] = documents.raised_targets(before.signed, floors, number, clock.now())
        else:
            documents_by_role[role] = documents.unsigned_bin(before.signed, [_entry(bundle)], number, clock.now())
    sequence = 0 if bundle.kind in _SHOWN else clock.unix()
    return PreparedRequest(documents_by_role, {**held, Targets.type: targets}, _exhibits(bundle), sequence)


def _prepare_withdrawal(actor: Actor, release: Release, reason: str) -> None:
    """Write what officers sign so that devices refuse a bundle, unless it is written, or was never released."""
    bundle, known = release.bundle, release.withdrawal
    if not is_bundle_listed(bundle):
        return
    held, targets = _held(bundle)
    if known and known.state == Statement.State.PREPARED and statements.follows_documents(known, held):
        return
    role, before = next(iter(held.items()))
    number = online_roles.numbers_after(domain=bundle.domain, role=role, published=before.signed.version)
    document = documents.withdrawal_bin(before.signed, bundle.target_path, reason or "withdrawn", number, clock.now())
    request = PreparedRequest({role: document}, {**held, Targets.type: targets}, _exhibits(bundle))
    kind, summary = Statement.Kind.WITHDRAWAL, f"withdraw {bundle}"
    statements.write_statement(actor=actor, kind=kind, summary=summary, request=request, release=release)


def _entry(bundle: Bundle) -> documents.ListedBundle:
    return documents.ListedBundle(bundle.target_path, canonical.dumps(bundle.manifest))


def _classes(bundle: Bundle) -> list[str]:
    return sorted(str(model.class_id) for model in bundle.hardware_models.all())


def _exhibits(bundle: Bundle) -> dict[str, str]:
    """Return the texts that officers must read: ``bundle.json``, and a configuration's or composite's content."""
    exhibits = {bundle.digest: canonical.dumps(bundle.manifest).decode()}
    if bundle.kind in _SHOWN:
        with blobs.blob_store().at_hand(bundle.image.sha256) as text:
            exhibits[bundle.image.sha256] = text.read_text()
    return exhibits


def _adopted(actor: Actor, release: Release) -> Release:
    """Mark a bundle as published that the officers' bin lists already (after a restore)."""
    if release.state != Release.State.PUBLISHED or release.pk is None:
        release.save()
        _mark_published(release)
        ledger.record(actor=actor, action="release.adopted", thing=("release", release.public_id))
    return rows.get_release(actor=actor, public_id=release.public_id)


def _demand_fit(bundle: Bundle) -> None:
    """Refuse a bundle that is incompatible with a current hardware model that it names."""
    composite_rules.demand_released(bundle)
    for model in bundle.hardware_models.all():
        reasons = fitting.incompatibility_reasons(bundle, model)
        if reasons:
            told = "; ".join(reason.sentence for reason in reasons)
            msg = f"The bundle is incompatible with {model.name}: {told}."
            raise RefusedBundleError(msg, hardware=model.name, reasons=[reason.kind.value for reason in reasons])


def _demand_not_withdrawn(release: Release) -> None:
    if release.state == Release.State.WITHDRAWN:
        msg = "The release was withdrawn. Upload the bundle under a new version to release it again."
        raise ReleaseStateError(msg)


def _mark_published(release: Release) -> None:
    release.state = Release.State.PUBLISHED
    release.published_at = clock.now()
    release.save(update_fields=["state", "published_at"])
