"""Issue OSCORE contexts (RFC 8613) to devices, and never use a sequence number twice.

The signer derives a context's secret from a key that never leaves it: it is in no table, no file and no log,
and an attacker with the database can neither read a device's messages nor impersonate it.
"""

import secrets
from dataclasses import dataclass, field
from datetime import timedelta

from django.db import transaction
from django.db.models import F

from devices.models import Device, OscoreContext
from pki.kernel import clock, monotone
from pki.kernel.actor import Actor
from pki.kernel.errors import LimitedError, NotFoundError
from pki.models import Certificate
from pki.services import changes, ledger, signing

KID_BYTES = 5
#: numbers that are reserved by one write
BLOCK = 64
AT_ONCE = 1000
#: by how much our numbers jump at a restore, beside following the clock: challenges may use more than one a second
JUMP = 1 << 24
#: of one device: an answer with a new one may get lost; and not more than so many are made in so many seconds
MOST_CONTEXTS, BURST_SECONDS = 4, 60
#: above every Partial IV (RFC 8613, 7.2.1)
NO_NUMBER = 1 << 40


@dataclass(frozen=True, slots=True)
class Material:
    """Values from which both sides derive a context.

    Args:
        kid: Sender ID of the device; our own is empty.
        secret: Master Secret, 16 bytes.
        salt: Master Salt, 8 bytes.
        fingerprint: hex SHA-256 of the certificate that the context belongs to.
        recipient_next: no number of the device from this one on was ever accepted.
    """

    kid: bytes
    secret: bytes = field(repr=False)
    salt: bytes = field(repr=False)
    fingerprint: str
    recipient_next: int


def provision_context(*, actor: Actor, device: Device, certificate: Certificate) -> Material:
    """Make a context for a device whose certificate was verified in this handshake; the oldest contexts end.

    Raises:
        LimitedError: it received too many within a minute.
    """
    actor.require_device(device.key)
    kid = _fresh_kid()
    derived = _derived(kid, certificate)  # first: when the signer does not answer, nothing has changed
    with transaction.atomic():
        Device.objects.select_for_update().get(pk=device.pk)
        since = clock.now() - timedelta(seconds=BURST_SECONDS)
        if OscoreContext.objects.filter(device=device, created_at__gt=since).count() >= MOST_CONTEXTS:
            msg = "This device has just received several contexts. Use the newest one."
            raise LimitedError(msg, retry_after=BURST_SECONDS)
        context = OscoreContext.objects.create(kid=kid, device=device, certificate=certificate)
        kept = OscoreContext.objects.filter(device=device).order_by("-pk").values_list("pk", flat=True)[:MOST_CONTEXTS]
        OscoreContext.objects.filter(device=device).exclude(pk__in=list(kept)).delete()
        changes.note_changes(device.key)
        detail = {"kid": str(context), "certificate": certificate.fingerprint}
        ledger.record(actor=actor, action="device.oscore-provisioned", thing=("device", device.key), detail=detail)
    return _material(context, derived)


def context_material(kid: bytes) -> Material:
    """Return the values from which a device gateway derives the context of a Sender ID.

    Raises:
        NotFoundError: there is none, or it has ended.
        SignerError: the signer does not answer.
    """
    context = None
    if len(kid) == KID_BYTES:
        rows = OscoreContext.objects.select_related("certificate__domain")
        context = rows.filter(kid=int.from_bytes(kid, "big")).first()
    if context is None:
        msg = "There is no such context. Request a new one at /v1/oscore with the device's certificate."
        raise NotFoundError(msg)
    return _material(context, _derived(context.kid, context.certificate))


def is_context_valid(kid: bytes) -> bool:
    """Return whether a context is still valid."""
    return OscoreContext.objects.filter(kid=int.from_bytes(kid, "big")).exists()


def reserve_numbers(kid: bytes) -> int:
    """Reserve ``BLOCK`` Sender Sequence Numbers of ours and return the first.

    They follow the clock where that is ahead: a database restored from an old copy repeats none, as long as fewer than
    one a second was used.
    """
    with transaction.atomic():
        row = _locked(kid)
        first = monotone.next_after(row.sender_next - 1, clock.unix())
        row.sender_next = first + BLOCK
        row.save(update_fields=["sender_next"])
    return first


def note_accepting(kid: bytes, number: int) -> int:
    """Reserve a block of the device's numbers before one of them is accepted; return its end."""
    with transaction.atomic():
        row = _locked(kid)
        known = 0 if row.recipient_next == NO_NUMBER else row.recipient_next
        row.recipient_next = max(known, number + BLOCK)
        row.save(update_fields=["recipient_next"])
    return row.recipient_next


def store_numbers(ended: list[tuple[bytes, int, int]]) -> None:
    """Store the exact sequence numbers of contexts that a gateway drops and no other process took over.

    Args:
        ended: Sender ID, the end of what was reserved, and the number after the highest that was accepted.
    """
    for start in range(0, len(ended), AT_ONCE):
        with transaction.atomic():
            for kid, reserved, accepted in ended[start : start + AT_ONCE]:
                rows = OscoreContext.objects.filter(kid=int.from_bytes(kid, "big"), recipient_next=reserved)
                rows.update(recipient_next=accepted)


def distrust_numbers() -> None:
    """After a restore: require a fresh challenge for device numbers, and skip own numbers that may be used already."""
    OscoreContext.objects.update(recipient_next=NO_NUMBER, sender_next=F("sender_next") + JUMP)


def _locked(kid: bytes) -> OscoreContext:
    context = OscoreContext.objects.select_for_update().filter(kid=int.from_bytes(kid, "big")).first()
    if context is None:
        msg = "The context is no longer valid. Request a new one."
        raise NotFoundError(msg)
    return context


def _fresh_kid() -> int:
    """Return an unused number: random, so that it does not reveal the number of devices."""
    while True:
        kid = secrets.randbelow(1 << 8 * KID_BYTES)
        if not OscoreContext.objects.filter(kid=kid).exists():
            return kid


def _derived(kid: int, certificate: Certificate) -> bytes:
    name = kid.to_bytes(KID_BYTES, "big")
    return signing.signer_client("door").oscore_secret(
        certificate.domain.slug, name, bytes.fromhex(certificate.fingerprint)
    )


def _material(row: OscoreContext, derived: bytes) -> Material:
    kid = row.kid.to_bytes(KID_BYTES, "big")
    return Material(kid, derived[:16], derived[16:], row.certificate.fingerprint, row.recipient_next)
