"""Take in bundles: read the manifest, stage the files, judge them in the sandbox, and only then keep them."""

import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import BinaryIO

from django.conf import settings
from django.db import transaction

from devices.models import HardwareModel
from ota import blobs, fit, sandbox, sbom
from ota.blobs import Area, Staged
from ota.deltas import advice
from ota.errors import BlobNotFoundError, ManifestError, RefusedBundleError
from ota.formats.judgement import Judgement, statement
from ota.manifest import Manifest, agreement, parse
from ota.models import Bundle, BundleFile, BundleHardware
from ota.selectors import bundles as rows
from ota.selectors import fitting
from ota.services import backsteps, campaigns, composites, storage, successors, trials, trust_keys
from pki import selectors as ground
from pki.kernel.actor import Actor
from pki.kernel.errors import ConflictError, DomainError, InvalidError
from pki.kernel.permissions import Action, permitted
from pki.models import Authority
from pki.services import ledger

_logger = logging.getLogger(__name__)


def upload(*, actor: Actor, manifest: bytes, files: Mapping[str, BinaryIO]) -> Bundle:
    """Verify, inspect and keep a bundle; uploading the same one again returns the one that is there.

    Args:
        actor: an operator or a release officer.
        manifest: the bytes of ``bundle.json``.
        files: a readable stream for each path that the manifest lists.

    Raises:
        InvalidError: the bundle is refused; nothing of it is stored, and the sentence says why.
        ConflictError: this version exists with other content.
        VerifierError: it could not be judged.
    """
    uploaded = permitted(actor, Action.UPLOAD_BUNDLE, rows.bundles(actor=actor))
    wanted = parse(manifest)
    known = uploaded.filter(digest=wanted.digest).first()
    if known:
        return known
    hardware = _hardware(actor.domain, wanted)
    _demand_new(actor.domain, wanted)
    store = blobs.store()
    try:
        with store.staging() as area:
            staged = _stage(store, area, wanted, files)
            judgement = _with_contents(wanted, staged, _judge(actor, wanted, staged))
            judgement = _with_advice(wanted, staged, judgement)
            judgement = successors.with_changes(actor.domain, wanted, hardware, judgement)
            judgement = backsteps.with_backsteps(actor.domain, wanted, hardware, judgement)
            return _keep(actor, wanted, staged, judgement, hardware)
    except DomainError as error:
        _logger.warning("a bundle was refused", extra={"bundle": wanted.id, "reason": error.detail})
        if isinstance(error, RefusedBundleError):
            _record_refusal(actor, wanted, error)
        raise


def _record_refusal(actor: Actor, wanted: Manifest, error: RefusedBundleError) -> None:
    """Keep in the ledger who sent what that could not be trusted; the bytes are gone."""
    detail = {"name": wanted.id, "version": wanted.version, "digest": wanted.digest, "reason": error.detail[:300]}
    with transaction.atomic():
        ledger.record(actor=actor, action="bundle.refused", thing=("bundle", wanted.digest), detail=detail)


def _hardware(slug: str, wanted: Manifest) -> list[HardwareModel]:
    """Return the registered hardware models that the manifest names."""
    classes = {one.class_id for one in wanted.hw}
    models = {one.class_id: one for one in HardwareModel.objects.filter(domain__slug=slug, class_id__in=classes)}
    for one in wanted.hw:
        model = models.get(one.class_id)
        if model is None or model.vendor_id != one.vendor_id:
            msg = f"The hardware {one.name!r} ({one.class_id}) is not registered here. Register it or correct `hw`."
            raise RefusedBundleError(msg, hardware=str(one.class_id))
    return sorted(models.values(), key=lambda model: model.name)


def _demand_new(slug: str, wanted: Manifest) -> None:
    """Refuse a version that exists with other content."""
    kin = Bundle.objects.filter(domain__slug=slug, name=wanted.id, component=wanted.component)
    if kin.filter(version=wanted.version).exists():
        msg = f"{wanted.id} {wanted.version} exists with other content. Give the new content a new version."
        raise ConflictError(msg)


def _stage(store: blobs.Blobs, area: Area, wanted: Manifest, files: Mapping[str, BinaryIO]) -> dict[str, Staged]:
    """Bring the listed files in, each compared with what the manifest says of it."""
    listed = {entry.path for entry in wanted.files}
    if missing := sorted(listed - set(files)):
        msg = f"bundle.json lists {missing[0]!r}, and no such file came. Send all files in one upload."
        raise ManifestError(msg)
    if extra := sorted(set(files) - listed):
        msg = f"The file {extra[0][:100]!r} came, and bundle.json does not list it."
        raise ManifestError(msg)
    limit = settings.FLEET_MAX_UPLOAD_MB << 20
    if sum(entry.size for entry in wanted.files) > limit:
        msg = f"The bundle is larger than the {settings.FLEET_MAX_UPLOAD_MB} MB that this server accepts."
        raise ManifestError(msg)
    staged = {}
    for entry in wanted.files:
        one = store.stage(files[entry.path], area, entry.size)
        if (one.size, one.sha256) != (entry.size, entry.sha256):
            msg = f"{entry.path}: the bytes that came are not the ones that bundle.json lists."
            raise ManifestError(msg)
        staged[entry.path] = one
    return staged


def _judge(actor: Actor, wanted: Manifest, staged: Mapping[str, Staged]) -> Judgement:
    """Let the sandbox judge the image, then compare what is in it with what the manifest says."""
    keys = trust_keys.strangers(rows.vouching_keys(actor=actor, manifest=wanted))
    if not keys and wanted.kind not in {Bundle.Kind.CONFIG, Bundle.Kind.COMPOSITE}:
        msg = (
            f"No trust key is registered for {wanted.id}, the format {wanted.format} and the component "
            f"{wanted.component}. "
            "A security officer adds one with `manage.py bundle trust`."
        )
        raise RefusedBundleError(msg)
    signature = wanted.of_role("signature")
    judgement = sandbox.judge(
        wanted.format,
        staged[wanted.image.path].path,
        [trust_keys.anchor_of(key) for key in keys],
        signature=staged[signature.path].path if signature else None,
        listed={one.path: one.sha256 for one in wanted.files if one is not signature},
    )
    judgement = agreement.check(wanted, trials.with_trial(wanted, staged, trust_keys.with_revocation(keys, judgement)))
    if wanted.kind == Bundle.Kind.CONFIG:
        _demand_way_back(actor, judgement.facts["anchors"])
        _demand_address(actor.domain, judgement.facts["server"])
        _demand_orders(actor.domain, judgement.facts["orders"])
    elif wanted.kind == Bundle.Kind.COMPOSITE:
        composites.demand_parts(actor.domain, wanted, judgement.facts)
    return judgement


def _with_contents(wanted: Manifest, staged: Mapping[str, Staged], judgement: Judgement) -> Judgement:
    """Add what the bill of materials says, if the bundle brings one."""
    entry = wanted.of_role("sbom")
    if entry is None:
        return judgement
    with staged[entry.path].path.open("rb") as file:
        is_model = wanted.kind == Bundle.Kind.MODEL
        found = sbom.read(file.read(sbom.MAX_SBOM + 1), wanted.image.sha256, model=is_model)
    many = found["components"]
    said = statement("contents", found["format"], f"{many} component{'' if many == 1 else 's'} listed")
    return Judgement({**judgement.facts, "sbom": found}, [*judgement.statements, said])


def _with_advice(wanted: Manifest, staged: Mapping[str, Staged], judgement: Judgement) -> Judgement:
    """Add what the author of a firmware that hardly shrinks should know."""
    if wanted.kind != Bundle.Kind.FIRMWARE:
        return judgement
    said = advice.of_file(staged[wanted.image.path].path)
    return Judgement({**judgement.facts, "advice": said}, judgement.statements) if said else judgement


def _demand_address(slug: str, server: str | None) -> None:
    """Refuse a configuration that would send devices back to the factory's address because nobody thought of it."""
    if server is None and (now := campaigns.server_in_force(slug)):
        msg = (
            f'The configuration in force sends devices to {now}: repeat `server`, or say "" for the factory\'s address.'
        )
        raise InvalidError(msg)


def _demand_orders(slug: str, told: Mapping[str, object]) -> None:
    """Refuse a configuration that would take something from devices because nobody thought of it."""
    if forgotten := sorted(set(campaigns.orders_in_force(slug)) - set(told)):
        msg = (
            f"The configuration in force sets `{forgotten[0]}`: repeat it, or say that there are none by an empty one."
        )
        raise InvalidError(msg)


def _demand_way_back(actor: Actor, anchors: list[str]) -> None:
    """Refuse anchors under which devices would not find back: the root of no CA that issues here is among them."""
    issuing = [row for row in ground.authorities(actor=actor) if row.kind == Authority.Kind.ISSUING and row.parent]
    ours = {row.parent.fingerprint for row in issuing if row.state == Authority.State.ACTIVE and row.parent}
    if not ours & set(anchors):
        msg = "The anchors name no root of this domain's CAs: devices would never believe this server again."
        raise RefusedBundleError(msg)


def _keep(
    actor: Actor,
    wanted: Manifest,
    staged: Mapping[str, Staged],
    judgement: Judgement,
    hardware: list[HardwareModel],
) -> Bundle:
    store, digests = blobs.store(), {one.sha256: one for one in staged.values()}
    adopted: list[str] = []
    try:
        # Before the transaction: a bucket takes its time, and nobody else could write meanwhile.
        adopted.extend(sha256 for sha256, one in digests.items() if store.adopt(one))
        with transaction.atomic():
            composites.demand_parts(actor.domain, wanted, judgement.facts, hold=True)  # one may have been deleted since
            storage.hold(digests)
            adopted.extend(sha256 for sha256, one in digests.items() if not _is_kept(one) and store.adopt(one))
            bundle = _rows(actor, wanted, staged, judgement, hardware)
            detail = {"name": wanted.id, "version": wanted.version, "digest": bundle.digest}
            ledger.record(
                actor=actor,
                action="bundle.accepted",
                thing=("bundle", bundle.public_id),
                detail={**detail, "report": judgement.statements},
            )
    except BaseException:
        storage.forget(adopted)
        raise
    return bundle


def _is_kept(one: Staged) -> bool:
    """Say whether bytes that were kept a moment ago are still there: another upload or a deletion may forget them."""
    with suppress(BlobNotFoundError):
        return blobs.store().size(one.sha256) == one.size
    return False


def _rows(
    actor: Actor,
    wanted: Manifest,
    staged: Mapping[str, Staged],
    judgement: Judgement,
    hardware: list[HardwareModel],
) -> Bundle:
    bundle = Bundle.objects.create(
        domain=ground.domain(actor.domain),
        digest=wanted.digest,
        name=wanted.id,
        version=wanted.version,
        kind=wanted.kind,
        format=wanted.format,
        component=wanted.component,
        security_counter=wanted.security_counter,
        audience=list(wanted.audience),
        manifest=wanted.raw,
        report=judgement.statements,
        facts={**judgement.facts, "fit": _fits(wanted, judgement, hardware)},
        uploaded_by_kind=actor.kind,
        uploaded_by_key=actor.key[:100],
    )
    for entry in wanted.files:
        one = staged[entry.path]
        BundleFile.objects.create(
            bundle=bundle,
            path=entry.path,
            role=entry.role,
            size=one.size,
            sha256=one.sha256,
            sha1=one.sha1,
            md5=one.md5,
        )
    BundleHardware.objects.bulk_create(BundleHardware(bundle=bundle, hardware_model=model) for model in hardware)
    return bundle


def _fits(wanted: Manifest, judgement: Judgement, hardware: list[HardwareModel]) -> dict[str, list[dict[str, object]]]:
    """Return the fit matrix of the upload: hardware model's name to its reasons against (none: it fits)."""
    return {
        model.name: [
            reason.to_dict()
            for reason in fit.verdict(wanted.kind, wanted.format, judgement.facts, fitting.profile(model))
        ]
        for model in hardware
    }
