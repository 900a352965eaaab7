"""Facts that the release officers signed about a bundle, read only from their signed documents.

``bundle_refusal`` is the only place that decides whether a device may receive a bundle. Every protocol asks it, at
offer and at download: rows of the database can only narrow what it allows.
"""

import hashlib
from collections.abc import Iterable, Mapping

from django.conf import settings
from tuf.api.metadata import Snapshot, Timestamp

from devices.models import Device
from devices.twin_documents import ComponentState
from ota.eligibility import ObstacleKind, Reason, make_reason, of_part
from ota.models import Bundle, BundleFile
from ota.selectors import parts
from ota.trust import gate
from ota.trust.gate import Recipient
from ota.trust.officers import UNSIGNED, OfficersView, officers_view
from ota.trust.repository import Repository
from pki.kernel import canonical, clock
from pki.kernel.errors import DomainError, InvalidError


def bundle_refusal(bundle: Bundle, device: Device) -> Reason | None:
    """Return why a device may not receive a bundle now, or None when officers' signatures allow it.

    The officers of the device's domain have signed the bundle and not withdrawn it, their documents have not expired,
    and hardware class, audience and counter floor are theirs. A composite is given only when each of its parts is.

    Args:
        bundle: of any domain.
        device: who would be given it.
    """
    if bundle.domain_id != device.domain_id:
        return make_reason(ObstacleKind.OTHER_DOMAIN)
    return _whole(bundle, Recipient(str(device.hardware_model.class_id), device.audience))


def class_objection(bundle: Bundle, class_id: str) -> Reason | None:
    """Return why no device of a hardware class may receive a bundle, or None when some may.

    Args:
        bundle: of any domain.
        class_id: of the hardware model.
    """
    return _whole(bundle, Recipient(class_id))


def blanket_refusal(bundle: Bundle) -> Reason | None:
    """Return why devices of no hardware that a bundle names may receive it, or None when some may."""
    classes = [str(model.class_id) for model in bundle.hardware_models.all()]
    reasons = [class_objection(bundle, class_id) for class_id in classes]
    if not reasons:
        return UNSIGNED
    return reasons[0] if all(reasons) else None


def hold_roots(slugs: Iterable[str]) -> None:
    """Keep the first root of each domain in this process and in those that it forks: no other one is accepted later."""
    for slug in slugs:
        officers_view(settings.FLEET_DIR / "tuf" / slug).hold()


def lists_file(bundle: Bundle, file: BundleFile) -> bool:
    """Return whether the signed ``bundle.json`` names a stored file: path, role, length and digest.

    The caller has asked ``bundle_refusal``, so that the manifest is the one that officers signed.
    """
    said = {"path": file.path, "role": str(file.role), "size": file.size, "sha256": file.sha256}
    return any(all(one.get(name) == value for name, value in said.items()) for one in bundle.manifest["files"])


def describe_components(device: Device, components: Mapping[str, ComponentState]) -> dict[str, ComponentState]:
    """Return what a device reports to run, in the officers' words where its digest is that of an image they signed.

    Version and counter of such an image are those of its signed ``bundle.json``, not those that the device reports, and
    ``signed`` is true; of anything else they stay the device's own word, and ``signed`` is false.

    Args:
        device: that reports.
        components: component to version, sha256, counter and confirmed.
    """
    digests = [component["sha256"] for component in components.values()]
    rows = Bundle.objects.filter(domain=device.domain_id, component__in=components, files__role="image")
    rows = rows.filter(files__sha256__in=digests).select_related("domain").prefetch_related("files").distinct()
    known = list(rows.order_by("-id"))
    return {name: _described(device, name, said, known) for name, said in components.items()}


def _described(device: Device, component: str, said: ComponentState, known: list[Bundle]) -> ComponentState:
    class_id = str(device.hardware_model.class_id)
    fits = [bundle for bundle in known if bundle.component == component and bundle.image.sha256 == said["sha256"]]
    manifests = [bundle.manifest for bundle in fits if _vouched(bundle, class_id)]
    if not manifests:
        return {**said, "signed": False}
    # Several bundles may have the same bytes: take the one that the device names, else the newest.
    names = said["version"], said["counter"]
    chosen = next(
        (manifest for manifest in manifests if (manifest["version"], manifest["security_counter"]) == names),
        manifests[0],
    )
    return {**said, "version": chosen["version"], "counter": chosen["security_counter"], "signed": True}


def _vouched(bundle: Bundle, class_id: str) -> bool:
    """Return whether officers have ever signed a bundle for a hardware class, even if it is withdrawn now."""
    view = officers_view(settings.FLEET_DIR / "tuf" / bundle.domain.slug)
    digest = view.listed(bundle.target_path, clock.now()).sha256
    is_signed = bool(digest) and digest == _digest(bundle) and _agrees(bundle)
    return is_signed and class_id in {hardware["class_id"] for hardware in bundle.manifest["hw"]}


def _digest(bundle: Bundle) -> str:
    try:
        return hashlib.sha256(canonical.dumps(bundle.manifest)).hexdigest()
    except InvalidError:
        return ""


def _whole(bundle: Bundle, recipient: Recipient) -> Reason | None:
    view = officers_view(settings.FLEET_DIR / "tuf" / bundle.domain.slug)
    if why := _of_one(view, bundle, recipient):
        return why
    try:
        members = parts.parts_of(bundle)  # by the parts.json that the manifest names, which is the signed one by now
    except DomainError as error:
        return make_reason(ObstacleKind.PART_UNREADABLE, why=error.detail)
    for part in members:
        if why := _of_one(view, part, recipient):
            return of_part(str(part), why)
    return None


def _of_one(view: OfficersView, bundle: Bundle, recipient: Recipient) -> Reason | None:
    listed = view.listed(bundle.target_path, clock.now())
    if listed.reason:
        return listed.reason
    # Once the digests agree, the manifest is what officers signed, and it decides; the columns have to agree with it.
    if listed.sha256 != _digest(bundle) or bundle.digest != listed.sha256:
        return UNSIGNED
    if not _agrees(bundle):
        return make_reason(ObstacleKind.ROWS_DIFFER)
    return gate.gate_refusal(bundle.manifest, listed.floors, recipient)


def _agrees(bundle: Bundle) -> bool:
    """Return whether the columns of a bundle and the row of its image match its signed manifest."""
    said = bundle.manifest
    same = all(getattr(bundle, name) == said[name] for name in ("component", "version", "security_counter"))
    same &= bundle.name == said["id"]
    same &= (bundle.kind == Bundle.Kind.COMPOSITE) == (said["kind"] == Bundle.Kind.COMPOSITE)  # it decides about parts
    images = [file for file in bundle.files.all() if file.role == BundleFile.Role.IMAGE]
    return same and len(images) == 1 and lists_file(bundle, images[0])


def newest_versions(slug: str) -> dict[str, int]:
    """Return the versions of the newest snapshot and timestamp: devices learn by them that nothing is hidden."""
    store = Repository(settings.FLEET_DIR / "tuf" / slug)
    timestamp = store.newest(Timestamp)
    if timestamp is None:
        return {}
    return {Snapshot.type: timestamp.signed.snapshot_meta.version, Timestamp.type: timestamp.signed.version}


def is_fresh(slug: str) -> bool:
    """Return whether the timestamp is valid; after a long downtime it is expired until the worker renews it."""
    timestamp = Repository(settings.FLEET_DIR / "tuf" / slug).newest(Timestamp)
    return timestamp is None or timestamp.signed.expires > clock.now()
