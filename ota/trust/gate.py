"""May a bundle be given to a device? One rule over what officers signed, for every protocol. Pure."""

from dataclasses import dataclass

from ota.contract.bundle_documents import BundleDocument
from ota.eligibility import ObstacleKind, Reason, join_audiences, make_reason
from ota.trust.documents import Floors


@dataclass(frozen=True, slots=True)
class Recipient:
    """Who would be given a bundle.

    Args:
        class_id: of the hardware model.
        audience: of the device; None asks about hardware only.
    """

    class_id: str
    audience: str | None = None


def gate_refusal(manifest: BundleDocument, floors: Floors, recipient: Recipient) -> Reason | None:
    """Return why a bundle that officers list may not be given, or None when it may.

    Args:
        manifest: its ``bundle.json``, whose digest the officers signed.
        floors: component to hardware class to the lowest counter, as the officers signed them.
        recipient: who would be given it.
    """
    if recipient.class_id not in {hardware["class_id"] for hardware in manifest["hw"]}:
        return make_reason(ObstacleKind.SIGNED_FOR_OTHER_HARDWARE)
    if recipient.audience is not None and recipient.audience not in manifest["audience"]:
        return make_reason(ObstacleKind.SIGNED_FOR_OTHER_AUDIENCE, audiences=join_audiences(manifest["audience"]))
    counter, component = manifest["security_counter"], manifest["component"]
    floor = floors.get(component, {}).get(recipient.class_id, 0)
    if counter < floor:
        return make_reason(ObstacleKind.BELOW_FLOOR, counter=counter, floor=floor)
    return None
