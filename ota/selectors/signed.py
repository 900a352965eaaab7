"""What the release officers say of a bundle, read from their signed documents and from no row."""

from django.conf import settings
from tuf.api.metadata import Snapshot, Timestamp

from ota.models import Bundle
from ota.selectors import parts
from ota.trust import documents
from ota.trust.repository import Repository


def objection(bundle: Bundle, class_id: str) -> str:
    """Return why devices of a hardware class would refuse a bundle, or nothing when they would not.

    Args:
        bundle: of any domain.
        class_id: of the device's hardware model.
    """
    store = Repository(settings.FLEET_DIR / "tuf" / bundle.domain.slug)
    for part in parts.of(bundle):
        if why := _objection(store, part, class_id):
            return f"of its part {part}: {why}"
    return _objection(store, bundle, class_id)


def _objection(store: Repository, bundle: Bundle, class_id: str) -> str:
    target, targets = store.listed(bundle.target_path), store.targets()
    if target is None or targets is None or target.hashes.get("sha256") != bundle.digest:
        return "the release officers have not signed it"
    if reason := documents.reason_of(target):
        return f"the release officers have withdrawn it: {reason}"
    floor = documents.floors_of(targets.signed).get(bundle.component, {}).get(class_id, 0)
    if bundle.security_counter < floor:
        return f"its security counter {bundle.security_counter} is below the floor {floor} that officers signed"
    return ""


def newest(slug: str) -> dict[str, int]:
    """Return the versions of the newest snapshot and timestamp: devices learn by them that nothing is hidden."""
    store = Repository(settings.FLEET_DIR / "tuf" / slug)
    timestamp = store.newest(Timestamp)
    if timestamp is None:
        return {}
    return {Snapshot.type: timestamp.signed.snapshot_meta.version, Timestamp.type: timestamp.signed.version}
