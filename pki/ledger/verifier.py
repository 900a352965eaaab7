"""Verify an exported audit log standalone: one file, Python and ``cryptography``, nothing of Muster.

    python verifier.py EXPORT.jsonl [--key HEX …] [--heads heads.jsonl]

The export is JSON lines: ``{"kind": "ledger", …}`` first, then entries in order, then signed heads. ``--key`` is a
public key of the ledger (Ed25519, hex; one for each generation) as you got it by another way; without it the export's
own keys are used, which proves that the export is whole, not that it is the server's. ``--heads`` are heads that
another party has kept: a copy of ``journal/heads.jsonl``, or what devices have received.

It repeats the few lines of ``merkle.py`` on purpose: an auditor should not have to run the server's code.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

#: bytes of one entry or head in a file
MOST_LINE = 1 << 20
RESTORE = ("_type", "domain", "epoch", "lost_epoch", "lost_size", "lost_root", "at")
SIGNED = ("_type", "domain", "epoch", "size", "root", "at")


def canonical_json(value: object) -> bytes:
    """Return JSON with sorted keys and no spaces, in UTF-8: the bytes that are hashed and signed."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def hash_entry(entry: Mapping[str, object]) -> bytes:
    """Return the RFC 6962 hash of an entry."""
    return hashlib.sha256(b"\x00" + canonical_json(entry)).digest()


def tree_roots(leaves: list[bytes]) -> Iterator[bytes]:
    """Yield the root of the tree after each leaf."""
    stack: list[tuple[int, bytes]] = []
    for leaf in leaves:
        height, value = 0, leaf
        while stack and stack[-1][0] == height:
            value = hashlib.sha256(b"\x01" + stack.pop()[1] + value).digest()
            height += 1
        stack.append((height, value))
        root = stack[-1][1]
        for _, left in reversed(stack[:-1]):
            root = hashlib.sha256(b"\x01" + left + root).digest()
        yield root


def json_lines(path: Path) -> Iterator[dict[str, Any]]:  # untyped: anybody may have written it; what is missing raises
    """Yield the objects of a file of JSON lines."""
    with path.open("rb") as file:
        while text := file.readline(MOST_LINE + 1):
            if len(text) > MOST_LINE:
                msg = f"a line is longer than {MOST_LINE} bytes"
                raise ValueError(msg)
            if text.strip():
                yield dict(json.loads(text, object_pairs_hook=_each_once))


def _each_once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return an object whose names differ: of a name twice, one program would read the first and another the last."""
    members = dict(pairs)
    if len(members) != len(pairs):
        msg = "an object holds a name twice"
        raise ValueError(msg)
    return members


# untyped: anybody may have written it; what is missing raises.
def void_heads(
    entries: list[dict[str, Any]], keys: list[Ed25519PublicKey], unsigned: int, wrong: list[str]
) -> dict[int, int]:
    """Return epoch -> size up to which its heads still hold, for each epoch that ended in a restore that is proved."""
    heads: dict[int, int] = {}
    present = 0
    for index, entry in enumerate(entries):
        if entry["action"] == "ledger.restored" and entry["actor"].startswith("system:"):
            new = int(entry["detail"]["epoch"])
            if not (new <= unsigned or is_head_signed(entry["detail"], keys, RESTORE)):
                wrong.append(f"the restore at entry {index} is not signed by this key")
                continue
            heads.update(dict.fromkeys(range(present, new), index))
            present = new
    return heads


def is_head_signed(head: Mapping[str, object], keys: list[Ed25519PublicKey], names: tuple[str, ...] = SIGNED) -> bool:
    """Return whether one of the keys has signed a head, or a restore."""
    try:
        signature, data = bytes.fromhex(str(head["sig"])), canonical_json({name: head[name] for name in names})
    except (ValueError, KeyError, TypeError):
        return False
    for key in keys:
        try:
            key.verify(signature, data)
        except InvalidSignature:
            continue
        return True
    return False


def check_export(export: Path, given: list[str], others: Path | None, unsigned: int = 0) -> list[str]:
    """Return the problems, one sentence each; restores up to the epoch ``unsigned`` need no signature."""
    rows = list(json_lines(export))
    about = next((row for row in rows if row.get("kind") == "ledger"), {})
    entries = [row["entry"] for row in rows if row.get("kind") == "entry"]
    heads = [row["head"] for row in rows if row.get("kind") == "head"]
    if others:
        heads += [head for head in json_lines(others) if head.get("domain") == about.get("domain")]
    keys = [Ed25519PublicKey.from_public_bytes(bytes.fromhex(key)) for key in given or about.get("keys", [])]
    tree = [root.hex() for root in tree_roots([hash_entry(entry) for entry in entries])]
    wrong: list[str] = []
    limits = void_heads(entries, keys, unsigned, wrong)
    for head in heads:
        size, epoch = head["size"], head["epoch"]
        if not is_head_signed(head, keys):
            wrong.append(f"the head of {size} entries (epoch {epoch}) is not signed by this key")
            continue
        if epoch in limits and size > limits[epoch]:
            continue
        if size > len(tree) or (size and tree[size - 1] != head["root"]):
            wrong.append(f"the head of {size} entries (epoch {epoch}) does not match the entries")
    if not heads:
        wrong.append("there is no signed head to compare with")
    return wrong


def main() -> int:
    """Verify and print the result; exit 0 when all is well."""
    parser = argparse.ArgumentParser(description="Verify an exported Muster audit log.")
    parser.add_argument("export", type=Path, help="file that `manage.py ledger export` wrote")
    parser.add_argument("--key", action="append", default=[], help="public key of the audit log (hex); may be repeated")
    parser.add_argument("--heads", type=Path, help="signed tree heads that another party keeps, as JSON lines")
    parser.add_argument(
        "--unsigned-restores", type=int, default=0, metavar="EPOCH",
        help="accept unsigned restores up to this epoch; older versions did not sign restores",
    )  # fmt: skip
    options = parser.parse_args()
    wrong = check_export(options.export, options.key, options.heads, options.unsigned_restores)
    sys.stdout.write("\n".join(wrong or ["ok: every signed head matches the entries"]) + "\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
