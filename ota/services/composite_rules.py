"""Check that the parts of a composite exist, are for its hardware and audience, and can run together."""

from collections.abc import Mapping

from ota.contract.bundle_documents import is_within
from ota.errors import RefusedBundleError
from ota.facts import BundleFacts
from ota.manifest import Manifest
from ota.models import Bundle, Release
from ota.selectors import parts as rows
from pki.kernel.errors import DomainError


def demand_parts(slug: str, manifest: Manifest, facts: BundleFacts, *, hold: bool = False) -> None:
    """Refuse a composite whose parts could not be installed together.

    Args:
        slug: of the domain.
        manifest: the composite.
        facts: what was read of it; of anything but a composite, which has no parts, nothing is demanded.
        hold: lock the parts until the transaction ends, so that none is deleted meanwhile.

    Raises:
        RefusedBundleError: it names the part, and what is wrong with it.
    """
    named = facts["parts"] if manifest.kind == Bundle.Kind.COMPOSITE else []
    bundles = Bundle.objects.filter(domain__slug=slug, digest__in=[part["digest"] for part in named]).order_by("pk")
    known = {bundle.digest: bundle for bundle in (bundles.select_for_update() if hold else bundles)}
    counters = {bundle.component: bundle.security_counter for bundle in known.values()}
    for part in named:
        member = known.get(part["digest"])
        if member is None or (member.component, member.name, member.version) != (
            part["component"],
            part["id"],
            part["version"],
        ):
            msg = f"The part {part['id']} {part['version']} with this digest does not exist. Upload it first."
            raise RefusedBundleError(msg)
        _demand_for(manifest, member)
        _demand_beside(member, counters)


def demand_released(bundle: Bundle) -> None:
    """Refuse to release a composite before its parts: devices require signed releases of all parts.

    Raises:
        RefusedBundleError: it names the part.
    """
    try:
        members = rows.parts_of(bundle)
    except DomainError as error:
        msg = f"{error.detail} Upload and release the part, then prepare this bundle again."
        raise RefusedBundleError(msg) from error
    for member in members:
        release = getattr(member, "release", None)
        if release is None or release.state != Release.State.PUBLISHED:
            msg = (
                f"The part {member} is not published. Release it first; a composite only lists bundles that are "
                "installed together."
            )
            raise RefusedBundleError(msg)


def _demand_for(manifest: Manifest, part: Bundle) -> None:
    classes = {str(hardware["class_id"]) for hardware in part.manifest["hw"]}
    if strange := [hardware.name for hardware in manifest.hw if str(hardware.class_id) not in classes]:
        msg = f"The part {part} is not for the hardware {strange[0]}."
        raise RefusedBundleError(msg)
    if missing := sorted(set(manifest.audience) - set(part.audience)):
        msg = f"The part {part} is not signed for {missing[0]}."
        raise RefusedBundleError(msg)


def _demand_beside(part: Bundle, counters: Mapping[str, int]) -> None:
    """Compare the requirements of a part with the other parts; the device checks the rest."""
    for requirement in part.manifest.get("requires", []):
        have = counters.get(requirement["component"])
        if have is not None and not is_within(requirement, have):
            msg = (
                f"The part {part} requires another version of {requirement['component']} than this composite contains."
            )
            raise RefusedBundleError(msg)
