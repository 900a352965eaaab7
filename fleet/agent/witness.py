"""A device remembers the newest signed head of the server's ledger that it was shown: nobody can tell two stories.

The head comes inside the director's document; the ledger's keys are named by the TUF root, which people sign. What a
device has seen goes back in its reports, so that `manage.py ledger verify` hears it from the whole fleet.
"""

import re
from typing import TYPE_CHECKING, Any, TypedDict

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ed25519

from fleet.agent import memory
from fleet.agent.errors import RefusedError
from fleet.agent.state import State
from pki.kernel import canonical

if TYPE_CHECKING:
    from collections.abc import Mapping

_SIGNED = ("_type", "domain", "epoch", "size", "root", "at")
_DIGEST = re.compile(r"[0-9a-f]{64}")


class Head(TypedDict):
    """A signed head of the ledger, as the server shows it."""

    _type: str
    domain: str
    epoch: int
    size: int
    root: str
    at: str
    keyid: str
    sig: str


def see(state: State, head: Head, named: Any) -> None:  # untyped: its caller refuses a root whose field is malformed
    """Take a head that the server shows; keep it when it is newer than the one that is kept.

    Args:
        state: of the device.
        head: ``_type, domain, epoch, size, root, at, keyid, sig``.
        named: what the TUF root says of the ledger's keys.

    Raises:
        RefusedError: it is malformed or badly signed, or it contradicts what this device was shown before.
    """
    if head["keyid"] not in named["keyids"]:
        return  # signed before the keys changed; the next head is signed by a key that we know
    epoch, size, root = head["epoch"], head["size"], head["root"]
    if head["_type"] != "head" or type(epoch) is not int or type(size) is not int or not _DIGEST.fullmatch(root):
        msg = "the head of the server's ledger is malformed"
        raise RefusedError(msg)
    public = bytes.fromhex(named["keys"][head["keyid"]]["keyval"]["public"])
    signed: Mapping[str, object] = head
    payload = canonical.dumps({name: signed[name] for name in _SIGNED})
    try:
        ed25519.Ed25519PublicKey.from_public_bytes(public).verify(bytes.fromhex(head["sig"]), payload)
    except InvalidSignature as error:
        msg = "the head of the server's ledger is not signed by the key that the root names"
        raise RefusedError(msg) from error
    seen = state.get("ledger_head") or [0, 0, ""]
    if epoch < seen[0] or ([epoch, size] == seen[:2] and root != seen[2]):
        msg = f"the server's ledger contradicts itself: it showed another history at {seen[1]} entries"
        raise RefusedError(msg)
    if [epoch, size] > seen[:2]:
        memory.learn(state, head["keyid"], ledger_head=[epoch, size, root])
