"""Detect two devices with one identity: each answer to a report carries a token for the next report.

Of a device and its copy, one sends a token that the other has already used. Addresses prove nothing:
devices roam, and share addresses behind a NAT.
"""

import secrets

from django.db import transaction

from devices.models import Device, Twin
from devices.services import incidents
from pki.kernel.actor import Actor

TOKEN_BYTES = 8
SENTENCE = (
    "two devices use this identity, or its storage was restored from a copy: its report repeats an old fork token"
)


def exchange_fork_token(*, actor: Actor, device: Device, given: bytes | None) -> bytes | None:
    """Compare a report's token with the one that was issued; return the next one.

    The last but one is valid too, since an answer may get lost. A device may send none until it has received one.

    Args:
        actor: the device.
        device: whose report it is; its sequence number was checked.
        given: of the report; empty when the device knows the fork test and has no token yet, None when it does not.
    """
    actor.require_device(device.key)
    with transaction.atomic():
        twin = Twin.objects.select_for_update().get(device=device)
        if given is None and not twin.fork_token:
            return None
        token = (given or b"").hex()
        forked = bool(twin.fork_token) and token not in {twin.fork_token, twin.fork_previous}
        fresh = secrets.token_bytes(TOKEN_BYTES)
        twin.fork_token, twin.fork_previous = fresh.hex(), token
        twin.save(update_fields=["fork_token", "fork_previous"])
        if forked:
            kinds = {"by": "fork-test", "layer": "invariant", "kind": "fork"}
            incidents.open_critical(domain=actor.domain, device=device, text=SENTENCE, **kinds)
    return fresh


def forget_fork_tokens() -> None:
    """Reset all tokens: after a restore devices hold tokens that this database never issued."""
    Twin.objects.update(fork_token="", fork_previous="")
