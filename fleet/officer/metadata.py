"""TUF documents that people sign: the root, the first targets, and each release's targets."""

import hashlib
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

from tuf.api.metadata import Metadata, Role, Root, Targets
from tuf.api.serialization.json import JSONSerializer

from fleet.officer import keys
from pki.kernel import clock
from pki.kernel.errors import InvalidError

LIFE = timedelta(days=365)
THRESHOLD = 2
ONLINE = {"director": "x-muster-director", "ledger": "x-muster-ledger"}


def root(officers: list[Path], online: dict[str, dict[str, Any]], signers: list[Path]) -> bytes:
    """Return a first root, signed: officers hold root and targets 2 of n, the server the online roles.

    Args:
        officers: public halves.
        online: the server's public online keys by name.
        signers: private keys of at least two officers.
    """
    people = dict(keys.officer(path) for path in officers)
    known = {key.keyid: key for key in people.values()}
    roles = {"root": list(known), "targets": list(known)}
    held: dict[str, Any] = {}
    for name in ("snapshot", "timestamp"):
        key = keys.public_key(online[name]["keyid"], online[name])
        held[key.keyid] = key
        roles[name] = [key.keyid]
    document = Root(
        version=1,
        expires=(clock.now() + LIFE).replace(microsecond=0),
        keys={**known, **held},
        roles={name: Role(ids, THRESHOLD if name in {"root", "targets"} else 1) for name, ids in roles.items()},
        consistent_snapshot=True,
        unrecognized_fields={field: _named(online[name]) for name, field in ONLINE.items()},
    )
    return _signed(Metadata(document), signers)


def next_root(present: bytes, online: dict[str, Any], signers: list[Path]) -> bytes:
    """Return the root that follows another one: the same officers, other online keys.

    Args:
        present: the installed root.
        online: by name, the public online key that the new root shall name, or a list of them.
        signers: private keys of at least two officers.
    """
    document = Metadata[Root].from_bytes(present)
    root = document.signed
    root.version += 1
    root.expires = (clock.now() + LIFE).replace(microsecond=0)
    for name, given in online.items():
        wanted = given if isinstance(given, list) else [given]
        if name in ONLINE:
            root.unrecognized_fields[ONLINE[name]] = _named(*wanted)
            continue
        for keyid in list(root.roles[name].keyids):
            root.revoke_key(keyid, name)
        for key in wanted:
            root.add_key(keys.public_key(key["keyid"], key), name)
    document.signatures.clear()
    return _signed(document, signers)


def first_targets(signers: list[Path]) -> bytes:
    """Return the first targets: they list nothing."""
    document = Targets(version=1, expires=(clock.now() + LIFE).replace(microsecond=0))
    return _signed(Metadata(document), signers)


def read_prepared(data: bytes) -> tuple[dict[str, Any], Metadata[Targets]]:
    """Return a prepared release and the document that is to be signed.

    Raises:
        InvalidError: the digest inside is not that of the document.
    """
    prepared = json.loads(data)
    document = Metadata[Targets].from_dict(prepared["metadata"])
    if hashlib.sha256(document.signed_bytes).hexdigest() != prepared["digest"]:
        msg = "The prepared release is damaged: its digest is not that of the document."
        raise InvalidError(msg)
    return prepared, document


def describe(document: Metadata[Targets]) -> list[str]:
    """Return what a signature would release, one line a file."""
    lines = [f"targets version {document.signed.version}, expires {document.signed.expires:%Y-%m-%d}"]
    for path, target in sorted(document.signed.targets.items()):
        custom = target.custom or {}
        lines.append(f"  {path}: {target.length} bytes, sha256 {target.hashes.get('sha256')}")
        lines.append(f"    counter {custom.get('counter')}, hardware {', '.join(custom.get('hw', []))}")
        lines += [f"    makes devices trust the root with SHA-256 {one}" for one in custom.get("anchors", [])]
        lines += [
            f"    ERASES the device {one}: it loses its key and has to be enrolled anew"
            for one in custom.get("wipe", [])
        ]
    return lines


def sign(prepared: dict[str, Any], document: Metadata[Targets], key: Path) -> bytes:
    """Return ``signature.json``."""
    signature = keys.signer(key).sign(document.signed_bytes)
    facts = {
        "release": prepared["release"],
        "keyid": signature.keyid,
        "sig": signature.signature,
        "officer": key.stem,
    }
    return json.dumps(facts, indent=1, sort_keys=True).encode()


def _named(*wanted: dict[str, Any]) -> dict[str, Any]:
    facts = {key["keyid"]: {name: key[name] for name in ("keytype", "scheme", "keyval")} for key in wanted}
    return {"keyids": list(facts), "threshold": 1, "keys": facts}


def _signed(document: Metadata[Any], signers: list[Path]) -> bytes:
    for path in signers:
        document.sign(keys.signer(path), append=True)
    return document.to_bytes(JSONSerializer(compact=True))
