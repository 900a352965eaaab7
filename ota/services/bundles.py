"""Upload bundles: read the manifest, stage the files, verify them, and only then store them."""

import logging
from collections.abc import Mapping
from typing import BinaryIO

from django.conf import settings
from django.db import transaction

from devices.models import HardwareModel
from ota import blobs
from ota.blobs import Area, Staged
from ota.errors import ManifestError, RefusedBundleError
from ota.manifest import Manifest, parse_manifest
from ota.models import Bundle
from ota.selectors import bundles as rows
from ota.services import backsteps, bundle_judgement, bundle_rows, successors
from pki.kernel.actor import Actor
from pki.kernel.errors import ConflictError, DomainError
from pki.kernel.permissions import Action, permitted_rows
from pki.services import ledger

_logger = logging.getLogger(__name__)


def upload(*, actor: Actor, manifest: bytes, files: Mapping[str, BinaryIO]) -> Bundle:
    """Verify, inspect and store a bundle; uploading the same one again returns the existing one.

    Args:
        actor: an operator or a release officer.
        manifest: the bytes of ``bundle.json``.
        files: a readable stream for each path that the manifest lists.

    Raises:
        InvalidError: the bundle is refused; nothing of it is stored, and the sentence says why.
        ConflictError: this version exists with other content.
        VerifierError: it could not be verified.
    """
    uploaded = permitted_rows(actor, Action.UPLOAD_BUNDLE, rows.list_bundles(actor=actor))
    parsed = parse_manifest(manifest)
    known = uploaded.filter(digest=parsed.digest).first()
    if known:
        return known
    hardware = _hardware(actor.domain, parsed)
    _demand_new(actor.domain, parsed)
    store = blobs.blob_store()
    try:
        with store.staging() as area:
            staged = _stage(store, area, parsed, files)
            judgement = bundle_judgement.judge_bundle(actor, parsed, staged)
            judgement = successors.with_changes(actor.domain, parsed, hardware, judgement)
            judgement = backsteps.with_backsteps(actor.domain, parsed, hardware, judgement)
            return bundle_rows.keep_bundle(actor, parsed, staged, judgement, hardware)
    except DomainError as error:
        _logger.warning("a bundle was refused", extra={"bundle": parsed.id, "reason": error.detail})
        if isinstance(error, RefusedBundleError):
            _record_refusal(actor, parsed, error)
        raise


def _record_refusal(actor: Actor, manifest: Manifest, error: RefusedBundleError) -> None:
    """Record a refused upload and its sender in the audit log; its bytes are not kept."""
    detail = {"name": manifest.id, "version": manifest.version, "digest": manifest.digest, "reason": error.detail[:300]}
    with transaction.atomic():
        ledger.record(actor=actor, action="bundle.refused", thing=("bundle", manifest.digest), detail=detail)


def _hardware(slug: str, manifest: Manifest) -> list[HardwareModel]:
    """Return the registered hardware models that the manifest names."""
    classes = {hardware.class_id for hardware in manifest.hw}
    models = {model.class_id: model for model in HardwareModel.objects.filter(domain__slug=slug, class_id__in=classes)}
    for hardware in manifest.hw:
        model = models.get(hardware.class_id)
        if model is None or model.vendor_id != hardware.vendor_id:
            named = f"{hardware.name!r} ({hardware.class_id})"
            msg = f"The hardware {named} is not registered here. Register it or correct `hw`."
            raise RefusedBundleError(msg, hardware=str(hardware.class_id))
    return sorted(models.values(), key=lambda model: model.name)


def _demand_new(slug: str, manifest: Manifest) -> None:
    """Refuse a version that exists with other content."""
    same_name = Bundle.objects.filter(domain__slug=slug, name=manifest.id, component=manifest.component)
    if same_name.filter(version=manifest.version).exists():
        named = f"{manifest.id} {manifest.version}"
        msg = f"{named} already exists with different content. Give the new content a new version."
        raise ConflictError(msg)


def _stage(store: blobs.Blobs, area: Area, manifest: Manifest, files: Mapping[str, BinaryIO]) -> dict[str, Staged]:
    """Stage the listed files, and compare each with its entry in the manifest."""
    listed = {entry.path for entry in manifest.files}
    if missing := sorted(listed - set(files)):
        msg = f"bundle.json lists {missing[0]!r}, but this file is not in the upload. Send all files in one upload."
        raise ManifestError(msg)
    if extra := sorted(set(files) - listed):
        msg = (
            f"The file {extra[0][:100]!r} was uploaded, but bundle.json does not list it. Add it to bundle.json or "
            "remove it."
        )
        raise ManifestError(msg)
    limit = settings.FLEET_MAX_UPLOAD_MB << 20
    if sum(entry.size for entry in manifest.files) > limit:
        msg = f"The bundle is larger than the {settings.FLEET_MAX_UPLOAD_MB} MB that this server accepts."
        raise ManifestError(msg)
    staged = {}
    for entry in manifest.files:
        staged_file = store.stage(files[entry.path], area, entry.size)
        if (staged_file.size, staged_file.sha256) != (entry.size, entry.sha256):
            msg = f"{entry.path}: the uploaded file does not match the digest in bundle.json."
            raise ManifestError(msg)
        staged[entry.path] = staged_file
    return staged
