"""What the signer checks before an online key signs a document: type, expiry, and that numbers only grow."""

import json
import re
from contextlib import suppress
from datetime import datetime, timedelta

from securesystemslib.formats import encode_canonical

from pki.kernel import canonical, clock
from pki.kernel.errors import InvalidError
from pki.ledger.heads import TreeHead
from pki.vault.store import Vault

MAX_PAYLOAD = 200_000
#: How far above the clock a version may be: a compromised worker cannot use up the numbers (fast-forward attack).
AHEAD = 3600
_RESTORED, _UNSIGNED = "ledger.restored-epoch", "ledger.unsigned-restores"
#: Lost publications may have begun epochs that the signer's own memory, put back from a backup, does not know.
_MOST_EPOCHS = 1000
#: How far a document's own time may differ from the signer's clock.
SKEW = timedelta(minutes=1)
#: How many entries may be between two signed ledger heads.
MOST_NEW_ENTRIES = 10_000_000
_DIGEST = re.compile(r"[0-9a-f]{64}")
#: operation -> (_type, online key, longest life)
DOCUMENTS: dict[str, tuple[str, str, timedelta]] = {
    "sign_snapshot": ("snapshot", "snapshot", timedelta(days=7, minutes=5)),
    "sign_timestamp": ("timestamp", "timestamp", timedelta(hours=1, minutes=5)),
    "sign_director": ("director", "director", timedelta(hours=1, minutes=5)),
    "sign_time": ("time", "director", timedelta(0)),
    "sign_head": ("head", "ledger", timedelta(0)),
    "sign_restore": ("restore", "ledger", timedelta(0)),
}


def check_role_document(vault: Vault, operation: str, domain: str, payload: bytes) -> str:
    """Check a document and return the name of the online key that may sign it.

    Raises:
        InvalidError: it is not what this operation signs, lives too long, or goes back.
    """
    kind, key, life = DOCUMENTS[operation]
    document = _read(payload, tuf=kind in {"snapshot", "timestamp"})
    if document.get("_type") != kind:
        msg = f"This operation signs documents of the type {kind} only."
        raise InvalidError(msg)
    if life and not clock.now() < _time(document, "expires") <= clock.now() + life:
        msg = f"A {kind} may be valid for at most {life}."
        raise InvalidError(msg)
    if kind == "time" and abs(clock.now() - _time(document, "now")) > timedelta(seconds=5):
        msg = "The signer signs its own time only."
        raise InvalidError(msg)
    if kind == "director":
        _check_director(document)
    if kind in {"snapshot", "timestamp"}:
        _only_forward(vault, domain, kind, document)
    if kind == "restore":
        _of_this_ledger(domain, document)
        _new_epoch(vault, domain, document)
    if kind == "head":
        _of_this_ledger(domain, document)
        _one_root_a_size(vault, domain, document)
    return key


def _read(payload: bytes, *, tuf: bool) -> dict[str, object]:
    if len(payload) > MAX_PAYLOAD:
        msg = f"The document has {len(payload)} bytes; the maximum to sign is {MAX_PAYLOAD}."
        raise InvalidError(msg)
    document = canonical.loads(payload, max_bytes=MAX_PAYLOAD)
    if not isinstance(document, dict):
        msg = "Only JSON objects are signed."
        raise InvalidError(msg)
    again = str(encode_canonical(document)).encode() if tuf else canonical.dumps(document)
    if again != payload:
        msg = "The document is not in its canonical form."
        raise InvalidError(msg)
    return document


def _time(document: dict[str, object], name: str) -> datetime:
    with suppress(KeyError, ValueError):
        time = datetime.fromisoformat(str(document[name]))
        if time.tzinfo is not None:
            return time
    msg = f"The document needs an RFC 3339 time `{name}` with its zone."
    raise InvalidError(msg)


def _check_director(document: dict[str, object]) -> None:
    """Bound version and time: a device keeps both, and a compromised listener could block it with large ones."""
    if abs(clock.now() - _time(document, "issued")) > SKEW:
        msg = f"`issued` of a director document must be the current time, within {SKEW.seconds} s."
        raise InvalidError(msg)
    version, most = document.get("version"), clock.unix() + AHEAD
    if type(version) is not int or not 0 < version <= most:
        msg = f"The version of a director document must be between 1 and {most}."
        raise InvalidError(msg)


def _only_forward(vault: Vault, domain: str, kind: str, document: dict[str, object]) -> None:
    version = document.get("version")
    last = int(vault.read_fact(domain, f"{kind}.version") or 0)
    most = max(last + 1, clock.unix() + AHEAD)
    if type(version) is not int or not last < version <= most:
        msg = f"The {kind} must have a version above {last} and at most {most}."
        raise InvalidError(msg)
    vault.write_fact(domain, f"{kind}.version", str(version).encode())


def _of_this_ledger(domain: str, head: dict[str, object]) -> None:
    if head.get("domain") != domain or abs(clock.now() - _time(head, "at")) > timedelta(minutes=5):
        msg = "A ledger head must name its own domain and the current time."
        raise InvalidError(msg)


def last_head(vault: Vault, domain: str) -> TreeHead:
    """Return epoch, size and root of the newest ledger head that was signed."""
    head: TreeHead = json.loads(vault.read_fact(domain, "ledger.head") or b'{"epoch":0,"size":0,"root":""}')
    return head


def unsigned_restores(vault: Vault, domain: str) -> int:
    """Return the epoch up to which this ledger's restores were made before restores were signed."""
    return int(vault.read_fact(domain, _UNSIGNED) or 0)


def remember_unsigned(vault: Vault, domain: str) -> None:
    """Remember, once a domain, which epochs were begun before restores were signed."""
    if vault.read_fact(domain, _UNSIGNED) is None:
        vault.write_fact(domain, _UNSIGNED, str(last_head(vault, domain)["epoch"]).encode())


def _new_epoch(vault: Vault, domain: str, restore: dict[str, object]) -> None:
    """Remember the epoch that a restore begins; heads of it may be signed from then on."""
    epoch, last = restore.get("epoch"), last_head(vault, domain)["epoch"]
    if type(epoch) is not int or not last < epoch <= last + _MOST_EPOCHS:
        msg = f"A restore must begin epoch {last + 1} to {last + _MOST_EPOCHS} (last signed epoch: {last})."
        raise InvalidError(msg)
    vault.write_fact(domain, _RESTORED, str(epoch).encode())


def _one_root_a_size(vault: Vault, domain: str, head: dict[str, object]) -> None:
    """Never sign two different trees of one size in one epoch, nor a smaller one."""
    last = last_head(vault, domain)
    epoch, size, root = head.get("epoch"), head.get("size"), head.get("root")
    if type(epoch) is not int or type(size) is not int or not _DIGEST.fullmatch(str(root)):
        msg = "A ledger head must have epoch, size and root (SHA-256 in hex)."
        raise InvalidError(msg)
    begun = int(vault.read_fact(domain, _RESTORED) or 0)
    if epoch > max(last["epoch"], begun):
        msg = (
            f"A ledger head of epoch {epoch} needs a signed restore: run `manage.py restore --resume` after a restore."
        )
        raise InvalidError(msg)
    if epoch < 0 or size < 0 or (last["size"] and size > last["size"] + MOST_NEW_ENTRIES):
        msg = f"A ledger head may be at most {MOST_NEW_ENTRIES} entries above the last one."
        raise InvalidError(msg)
    grows = epoch > last["epoch"] or (epoch == last["epoch"] and size > last["size"])
    same = (epoch, size, root) == (last["epoch"], last["size"], last["root"])
    if not grows and not same:
        msg = (
            f"The signer has signed epoch {last['epoch']}, size {last['size']} already and does not sign an older one."
        )
        raise InvalidError(msg)
    vault.write_fact(domain, "ledger.head", json.dumps({"epoch": epoch, "size": size, "root": root}).encode())
