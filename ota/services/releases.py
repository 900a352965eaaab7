"""Releases: prepare what officers sign, collect their signatures, publish, withdraw."""

import hashlib
from typing import Any

from django.db import transaction
from tuf.api.metadata import Metadata, Root, Targets

from ota import fit
from ota.errors import MetadataError, RefusedBundleError, ReleaseStateError
from ota.models import Bundle, Release, ReleaseSignature
from ota.selectors import bundles as rows
from ota.services import metadata
from ota.trust import documents, policy, signatures
from ota.trust.repository import load
from pki.kernel import clock
from pki.kernel.actor import Actor, Role
from pki.services import journal, ledger

install_root = metadata.install_root
initial_targets = metadata.install_targets


def prepare(*, actor: Actor, bundle: Bundle) -> Release:
    """Write the targets metadata that would release a bundle, for two officers to sign.

    Preparing again returns the release as it is, or prepares it anew (its signatures are void then)
    when another release was published meanwhile.

    Raises:
        RefusedBundleError: the bundle does not fit hardware that it names.
        ReleaseStateError: there is no repository yet, or the release was withdrawn.
    """
    actor.require(Role.RELEASE_OFFICER)
    with transaction.atomic():
        bundle = Bundle.objects.select_for_update().get(pk=rows.bundle(actor.domain, bundle.public_id).pk)
        _demand_fit(bundle)
        base = _base(actor.domain)
        release = Release.objects.filter(bundle=bundle).first()
        if release and (release.state != Release.State.PREPARED or release.base_version == base.version):
            return _not_withdrawn(release)
        release = _write(bundle, base, release)
        ledger.record(
            actor=actor,
            action="release.prepared" if release.state == Release.State.PREPARED else "release.adopted",
            thing=("release", release.public_id),
            detail={"bundle": bundle.digest, "digest": release.digest, "version": release.targets_version},
        )
    return release


def submit(*, actor: Actor, release: Release, signature: bytes) -> ReleaseSignature:
    """Take one officer's signature, made with ``muster-sign`` on the officer's own machine.

    Args:
        actor: who brings it; need not be the officer.
        release: what was signed.
        signature: the ``signature.json`` that ``muster-sign`` wrote.

    Raises:
        MetadataError: it is malformed, for another release, by a stranger's key, or wrong.
        ReleaseStateError: the release is not waiting for signatures.
    """
    actor.require(Role.RELEASE_OFFICER)
    given = signatures.parse(signature)
    with transaction.atomic():
        release = _locked(actor.domain, release)
        if given.release != str(release.public_id):
            msg = "This signature is for another release."
            raise MetadataError(msg)
        if release.state != Release.State.PREPARED:
            msg = f"The release is {release.state}; it takes no more signatures."
            raise ReleaseStateError(msg)
        payload = _document(release).signed_bytes
        officer = policy.verify_one(_root(actor.domain), given.keyid, given.sig, payload)
        kept, made = ReleaseSignature.objects.get_or_create(
            release=release, keyid=given.keyid, defaults={"officer": officer, "signature": given.sig}
        )
        if made:
            ledger.record(
                actor=actor,
                action="release.signed",
                thing=("release", release.public_id),
                detail={"officer": officer, "keyid": given.keyid, "digest": release.digest},
            )
    return kept


def publish(*, actor: Actor, release: Release) -> Release:
    """Publish a release that two different officers signed; the signatures decide, not a row.

    Raises:
        MetadataError: not enough different officers signed.
        StaleReleaseError: another release was published since this one was prepared.
        ReleaseStateError: it was withdrawn.
    """
    actor.require(Role.RELEASE_OFFICER)
    with transaction.atomic():
        release = _locked(actor.domain, release)
        if _not_withdrawn(release).state == Release.State.PUBLISHED:
            return release
        document = _document(release)
        given = list(release.signatures.all())
        for one in given:
            documents.sign(document, one.keyid, one.signature)
        metadata.publish_targets(domain=release.domain, targets=document, base_version=release.base_version)
        _mark_published(release)
        journal.append("targets-published", domain=actor.domain, release=str(release.public_id), digest=release.digest)
        detail = {
            "bundle": release.bundle.digest,
            "version": release.targets_version,
            "officers": sorted({one.officer for one in given}),
            "uploaded_by": f"{release.bundle.uploaded_by_kind}:{release.bundle.uploaded_by_key}",
        }
        ledger.record(actor=actor, action="release.published", thing=("release", release.public_id), detail=detail)
    return release


def withdraw(*, actor: Actor, release: Release, reason: str) -> Release:
    """Take a release back: it is rolled out to nobody from now on; what runs stays."""
    actor.require(Role.RELEASE_OFFICER, Role.SECURITY_OFFICER)
    with transaction.atomic():
        release = _locked(actor.domain, release)
        if release.state != Release.State.WITHDRAWN:
            release.state = Release.State.WITHDRAWN
            release.save(update_fields=["state"])
            ledger.record(
                actor=actor,
                action="release.withdrawn",
                thing=("release", release.public_id),
                detail={"reason": reason[:300]},
            )
    return release


def adopt_published(fact: dict[str, Any]) -> bool:
    """After a restore: what the officers' newest targets on disk list is published, whatever the row says."""
    targets = metadata.repository(fact["domain"]).targets()
    if targets is None:
        return False
    waiting = Release.objects.filter(domain__slug=fact["domain"], state=Release.State.PREPARED)
    found = [one for one in waiting if _listed(one.bundle, targets.signed)]
    for release in found:
        _mark_published(release)
    return bool(found)


def _write(bundle: Bundle, base: Targets, release: Release | None) -> Release:
    """Keep a release prepared on the present targets; one that they list already is published."""
    if release:
        release.signatures.all().delete()
    release = release or Release(domain=bundle.domain, bundle=bundle)
    listed = _listed(bundle, base)
    version = metadata.numbers_after(domain=bundle.domain, role="targets", published=base.version)
    document = documents.targets(base, [_entry(bundle)], version, clock.now())
    release.targets_version = base.version if listed else version
    release.base_version = base.version
    release.prepared = documents.to_bytes(document)
    release.digest = hashlib.sha256(document.signed_bytes).hexdigest()
    release.state = Release.State.PUBLISHED if listed else Release.State.PREPARED
    release.published_at = clock.now() if listed else None
    release.save()
    return release


def _entry(bundle: Bundle) -> documents.Entry:
    image = bundle.image
    custom = {
        "hw": sorted(str(one.class_id) for one in bundle.hardware_models.all()),
        "counter": bundle.security_counter,
        "kind": bundle.kind,
        "component": bundle.component,
        "bundle": bundle.digest,
        "version": bundle.version,
        "audience": sorted(bundle.audience),
    }
    if bundle.kind == Bundle.Kind.CONFIG:
        custom["anchors"] = bundle.facts["anchors"]
        if bundle.facts.get("wipe"):
            custom["wipe"] = bundle.facts["wipe"]
    return documents.Entry(bundle.target_path, image.size, image.sha256, custom)


def _listed(bundle: Bundle, targets: Targets) -> bool:
    entry = _entry(bundle)
    return targets.targets.get(entry.path) == entry.target()


def _demand_fit(bundle: Bundle) -> None:
    """Refuse what cannot run on hardware that it names, by the hardware models as they are now."""
    for model in bundle.hardware_models.all():
        reasons = fit.verdict(bundle.kind, bundle.facts, fit.Profile(model.flash_model, model.arena))
        if reasons:
            told = "; ".join(reason.sentence() for reason in reasons)
            msg = f"The bundle does not fit {model.name}: {told}."
            raise RefusedBundleError(msg, hardware=model.name, reasons=[reason.code for reason in reasons])


def _base(slug: str) -> Targets:
    found = metadata.repository(slug).targets()
    if found is None:
        msg = "There is no TUF repository yet. Install root and targets first (`manage.py release root`)."
        raise ReleaseStateError(msg)
    return found.signed


def _root(slug: str) -> Root:
    found = metadata.repository(slug).root()
    if found is None:
        msg = "There is no TUF root yet. Install one first (`manage.py release root`)."
        raise ReleaseStateError(msg)
    return found.signed


def _locked(slug: str, release: Release) -> Release:
    known = rows.release(slug, release.public_id)
    return Release.objects.select_for_update(of=("self",)).select_related("bundle", "domain").get(pk=known.pk)


def _document(release: Release) -> Metadata[Targets]:
    return load(bytes(release.prepared), Targets)


def _not_withdrawn(release: Release) -> Release:
    if release.state == Release.State.WITHDRAWN:
        msg = "The release was withdrawn. Upload the bundle under a new version to release it again."
        raise ReleaseStateError(msg)
    return release


def _mark_published(release: Release) -> None:
    release.state = Release.State.PUBLISHED
    release.published_at = clock.now()
    release.save(update_fields=["state", "published_at"])
