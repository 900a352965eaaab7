"""Verify the files of an upload: in the sandbox, against its manifest, and by the rules of its kind."""

from collections.abc import Mapping

from ota import sandbox, sbom
from ota.blobs import Staged
from ota.deltas import advice
from ota.errors import RefusedBundleError
from ota.formats.judgement import Judgement, report_line
from ota.manifest import Manifest, agreement
from ota.models import Bundle
from ota.selectors import bundles as rows
from ota.services import composite_rules, configuration_rules, trials, trust_keys
from pki.kernel.actor import Actor


def judge_bundle(actor: Actor, manifest: Manifest, staged: Mapping[str, Staged]) -> Judgement:
    """Verify a bundle and return its judgement.

    Args:
        actor: who uploads it.
        manifest: its ``bundle.json``.
        staged: its files by their paths.

    Raises:
        DomainError: it is refused, or could not be verified.
    """
    return _with_advice(manifest, staged, _with_contents(manifest, staged, _judge(actor, manifest, staged)))


def _judge(actor: Actor, manifest: Manifest, staged: Mapping[str, Staged]) -> Judgement:
    """Verify the image in the sandbox, then compare its contents with the manifest."""
    keys = trust_keys.without_device_cas(rows.vouching_keys(actor=actor, manifest=manifest))
    if not keys and manifest.kind not in {Bundle.Kind.CONFIG, Bundle.Kind.COMPOSITE}:
        msg = (
            f"No trust key is registered for {manifest.id}, the format {manifest.format} and the component "
            f"{manifest.component}. "
            "A security officer adds one with `manage.py bundle trust`."
        )
        raise RefusedBundleError(msg)
    signature = manifest.of_role("signature")
    judgement = sandbox.judge_artefact(
        manifest.format,
        staged[manifest.image.path].path,
        [trust_keys.anchor_of(key) for key in keys],
        signature=staged[signature.path].path if signature else None,
        listed={file.path: file.sha256 for file in manifest.files if file is not signature},
    )
    judgement = agreement.check_agreement(
        manifest, trials.with_trial(manifest, staged, trust_keys.with_revocation(keys, judgement))
    )
    if manifest.kind == Bundle.Kind.CONFIG:
        configuration_rules.demand_configuration(actor, judgement.facts)
    elif manifest.kind == Bundle.Kind.COMPOSITE:
        composite_rules.demand_parts(actor.domain, manifest, judgement.facts)
    return judgement


def _with_contents(manifest: Manifest, staged: Mapping[str, Staged], judgement: Judgement) -> Judgement:
    """Add the contents of the SBOM, if the bundle has one."""
    entry = manifest.of_role("sbom")
    if entry is None:
        return judgement
    with staged[entry.path].path.open("rb") as file:
        is_model = manifest.kind == Bundle.Kind.MODEL
        bill = sbom.read_bill(file.read(sbom.MAX_SBOM + 1), manifest.image.sha256, model=is_model)
    many = bill["components"]
    said = report_line("contents", bill["format"], f"{many} component{'' if many == 1 else 's'} listed")
    return Judgement({**judgement.facts, "sbom": bill}, [*judgement.statements, said])


def _with_advice(manifest: Manifest, staged: Mapping[str, Staged], judgement: Judgement) -> Judgement:
    """Add advice for the author of a firmware that does not compress."""
    if manifest.kind != Bundle.Kind.FIRMWARE:
        return judgement
    said = advice.of_file(staged[manifest.image.path].path)
    return Judgement({**judgement.facts, "advice": said}, judgement.statements) if said else judgement
