"""Write the director's document: the target of this one device, signed online, short-lived."""

from datetime import timedelta

from devices.models import Device
from ota.deltas.choose import TriedPatch
from ota.models import Assignment, Command
from ota.selectors import signed as signed_rows
from ota.services import commands, deltas, offers, proofs
from ota.trust import protection
from pki import selectors as ground
from pki.kernel import actor as actors
from pki.kernel import canonical, clock
from pki.kernel.actor import Actor
from pki.kernel.errors import InvalidError
from pki.models import LedgerHead
from pki.services import numbers, signing

LIFE = timedelta(minutes=30)
NONCE_BYTES = 16


def director_document(*, actor: Actor, device: Device, nonce: bytes) -> bytes:
    """Return the signed assignment of a device as JSON.

    Args:
        actor: the device.
        device: whom it is for.
        nonce: 16 random bytes of the device; the signed document contains them.

    Raises:
        InvalidError: the nonce has another length.
    """
    actor.require_device(device.key)
    check_nonce(nonce)
    assignment = offers.current_offer(device)
    proofs.note_protocol(actor=actor, device=device, client=protection.NATIVE, name="director")
    now = clock.now().replace(microsecond=0)
    signed: dict[str, object] = {
        "_type": "director",
        "spec": 1,
        "device": device.key,
        "nonce": nonce.hex(),
        "issued": _stamp(now),
        "expires": _stamp(now + LIFE),
        "version": numbers.next_number(domain=device.domain, name=f"director-{device.pk}"),
        "assignments": [_row(assignment, device)] if assignment else [],
        "newest": signed_rows.newest_versions(actor.domain),
    }
    if waiting := [_command(command) for command in commands.waiting_for(device)]:
        signed["commands"] = waiting
    if head := ground.ledger_head(actor=actors.system_actor(actor.domain, "director")):
        signed["head"] = _head(actor.domain, head)
    return _signed("director", actor.domain, signed)


def commands_for(*, actor: Actor, device: Device, nonce: bytes) -> bytes:
    """Return the same document to a device that fetches its commands, and record that it has them."""
    data = director_document(actor=actor, device=device, nonce=nonce)
    commands.note_delivered(actor=actor, device=device)
    return data


def signed_time(*, actor: Actor, nonce: bytes) -> bytes:
    """Return the current time, signed by the director's key, as JSON."""
    check_nonce(nonce)
    now = clock.now().replace(microsecond=0)
    return _signed("time", actor.domain, {"_type": "time", "nonce": nonce.hex(), "now": _stamp(now)})


def check_nonce(nonce: bytes) -> None:
    """Refuse a nonce that is not 16 bytes.

    Raises:
        InvalidError: it is not.
    """
    if len(nonce) != NONCE_BYTES:
        msg = f"`nonce` must be {NONCE_BYTES} random bytes (got {len(nonce)})."
        raise InvalidError(msg)


def _row(assignment: Assignment, device: Device) -> dict[str, object]:
    bundle, image = assignment.bundle, assignment.bundle.image
    return {
        "action": assignment.action_id,
        "kind": assignment.kind,
        "component": bundle.component,
        "target": bundle.target_path,
        "length": image.size,
        "sha256": image.sha256,
        "hw": str(device.hardware_model.class_id),
        "counter": bundle.security_counter,
        "version": bundle.version,
        **_delta(deltas.offer_patch(device, bundle, assignment.rollout_id)),
    }


def _delta(offer: TriedPatch | None) -> dict[str, object]:
    """Return the entry of a patch: not the patch is signed, but the image that it produces."""
    if offer is None:
        return {}
    return {"delta": {"format": offer.format, "base": offer.base, "length": offer.size, "sha256": offer.sha256}}


def _command(command: Command) -> dict[str, object]:
    return {"id": command.key, "kind": command.kind, "expires": _stamp(command.expires_at.replace(microsecond=0))}


def _head(domain: str, head: LedgerHead) -> dict[str, object]:
    """Return the newest signed head of the audit log: devices store it and repeat it in their reports."""
    return {
        "_type": "head",
        "domain": domain,
        "epoch": head.epoch,
        "size": head.size,
        "root": head.root_hash,
        "at": head.at.isoformat(),
        "keyid": head.key_id,
        "sig": head.signature,
    }


def _signed(document: str, domain: str, signed: dict[str, object]) -> bytes:
    payload = canonical.dumps(signed)
    signature = signing.signer_client("door").sign(document, domain, payload)
    return canonical.dumps({"signed": signed, "signatures": [signature]})


def _stamp(at: object) -> str:
    return str(at).replace("+00:00", "Z").replace(" ", "T")
