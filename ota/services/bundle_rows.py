"""Store a verified bundle: its bytes in the store, its rows, and the entry in the audit log."""

from collections.abc import Mapping
from contextlib import suppress

from django.db import transaction

from devices.models import HardwareModel
from ota import blobs, fit
from ota.blobs import Staged
from ota.errors import BlobNotFoundError
from ota.formats.judgement import Judgement
from ota.manifest import Manifest
from ota.models import Bundle, BundleFile, BundleHardware
from ota.selectors import fitting
from ota.services import composite_rules, storage
from pki import selectors as ground
from pki.kernel.actor import Actor
from pki.services import ledger


def keep_bundle(
    actor: Actor,
    manifest: Manifest,
    staged: Mapping[str, Staged],
    judgement: Judgement,
    hardware: list[HardwareModel],
) -> Bundle:
    """Store a bundle whose files were verified; if that fails, store nothing.

    Args:
        actor: who uploads it.
        manifest: its ``bundle.json``.
        staged: its files by their paths.
        judgement: what was found in them.
        hardware: the hardware models that it is for.
    """
    store, digests = blobs.blob_store(), {value.sha256: value for value in staged.values()}
    adopted: list[str] = []
    try:
        # Before the transaction: a bucket is slow, and would block other writers meanwhile.
        adopted.extend(sha256 for sha256, digest in digests.items() if store.adopt(digest))
        with transaction.atomic():
            composite_rules.demand_parts(
                actor.domain, manifest, judgement.facts, hold=True
            )  # one may have been deleted since
            storage.lock_digests(digests)
            adopted.extend(sha256 for sha256, digest in digests.items() if not _is_kept(digest) and store.adopt(digest))
            bundle = _rows(actor, manifest, staged, judgement, hardware)
            detail = {"name": manifest.id, "version": manifest.version, "digest": bundle.digest}
            ledger.record(
                actor=actor,
                action="bundle.accepted",
                thing=("bundle", bundle.public_id),
                detail={**detail, "report": judgement.statements},
            )
    except BaseException:
        storage.forget_bytes(adopted)
        raise
    return bundle


def _is_kept(staged: Staged) -> bool:
    """Return whether the stored bytes still exist: another upload or a deletion may have removed them."""
    with suppress(BlobNotFoundError):
        return blobs.blob_store().size(staged.sha256) == staged.size
    return False


def _rows(
    actor: Actor,
    manifest: Manifest,
    staged: Mapping[str, Staged],
    judgement: Judgement,
    hardware: list[HardwareModel],
) -> Bundle:
    bundle = Bundle.objects.create(
        domain=ground.get_domain(actor.domain),
        digest=manifest.digest,
        name=manifest.id,
        version=manifest.version,
        kind=manifest.kind,
        format=manifest.format,
        component=manifest.component,
        security_counter=manifest.security_counter,
        audience=list(manifest.audience),
        manifest=manifest.raw,
        report=judgement.statements,
        facts={**judgement.facts, "fit": _fits(manifest, judgement, hardware)},
        uploaded_by_kind=actor.kind,
        uploaded_by_key=actor.key[:100],
    )
    for entry in manifest.files:
        staged_file = staged[entry.path]
        BundleFile.objects.create(
            bundle=bundle,
            path=entry.path,
            role=entry.role,
            size=staged_file.size,
            sha256=staged_file.sha256,
            sha1=staged_file.sha1,
            md5=staged_file.md5,
        )
    BundleHardware.objects.bulk_create(BundleHardware(bundle=bundle, hardware_model=model) for model in hardware)
    return bundle


def _fits(
    manifest: Manifest, judgement: Judgement, hardware: list[HardwareModel]
) -> dict[str, list[dict[str, object]]]:
    """Return the compatibility of the upload: hardware model name -> reasons against it (none: compatible)."""
    return {
        model.name: [
            reason.to_dict()
            for reason in fit.fit_verdict(
                manifest.kind, manifest.format, judgement.facts, fitting.current_profile(model)
            )
        ]
        for model in hardware
    }
