"""The device monitors the server's audit log: it stores the newest signed head, which detects split views.

The head is part of the director's document. The TUF root, which officers sign, lists the log's keys. Devices return the
stored head in their reports, so that `manage.py ledger verify` compares the heads of the whole fleet.
"""

import re
from typing import TYPE_CHECKING, Any, TypedDict

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ed25519

from fleet.agent import memory
from fleet.agent.errors import RefusedError
from fleet.agent.state import StateFile
from pki.kernel import canonical

if TYPE_CHECKING:
    from collections.abc import Mapping

_SIGNED = ("_type", "domain", "epoch", "size", "root", "at")
_DIGEST = re.compile(r"[0-9a-f]{64}")


class Head(TypedDict):
    """A signed head of the audit log."""

    _type: str
    domain: str
    epoch: int
    size: int
    root: str
    at: str
    keyid: str
    sig: str


# untyped: its caller refuses a malformed field of a root
def keep_head(state: StateFile, head: Head, named: Any) -> None:
    """Verify a head from the server. Store it if it is newer than the stored one.

    Args:
        state: state of the device.
        head: ``_type, domain, epoch, size, root, at, keyid, sig``.
        named: the log's keys in the TUF root.

    Raises:
        RefusedError: it is malformed, not correctly signed, or contradicts an earlier head.
    """
    if head["keyid"] not in named["keyids"]:
        return  # signed before a key rotation; the next head has a known key
    epoch, size, root = head["epoch"], head["size"], head["root"]
    if head["_type"] != "head" or type(epoch) is not int or type(size) is not int or not _DIGEST.fullmatch(root):
        msg = "the head of the server's audit log is malformed"
        raise RefusedError(msg)
    public = bytes.fromhex(named["keys"][head["keyid"]]["keyval"]["public"])
    signed: Mapping[str, object] = head
    payload = canonical.dumps({name: signed[name] for name in _SIGNED})
    try:
        ed25519.Ed25519PublicKey.from_public_bytes(public).verify(bytes.fromhex(head["sig"]), payload)
    except InvalidSignature as error:
        msg = "the head of the server's audit log is not signed by a key in the TUF root"
        raise RefusedError(msg) from error
    seen = state.get("ledger_head") or [0, 0, ""]
    if epoch < seen[0] or ([epoch, size] == seen[:2] and root != seen[2]):
        msg = f"the server's audit log is inconsistent: it had a different history at {seen[1]} entries"
        raise RefusedError(msg)
    if [epoch, size] > seen[:2]:
        memory.learn_facts(state, head["keyid"], ledger_head=[epoch, size, root])
