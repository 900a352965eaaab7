"""TUF documents that people make: the root, the root that follows it, and the first targets with their bins."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

from securesystemslib.signer import SSlibKey
from tuf.api.metadata import Delegations, Metadata, Role, Root, SuccinctRoles, Targets
from tuf.api.serialization.json import JSONSerializer

from fleet.officer import keys
from pki.kernel import clock
from pki.kernel.errors import InvalidError

LIFE = timedelta(days=365)
THRESHOLD = 2
BIN_FIELD = "x-muster-bin"
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
        key = keys.online_key(online[name], set(known))
        held[key.keyid] = key
        roles[name] = [key.keyid]
    document = Root(
        version=1,
        expires=(clock.now() + LIFE).replace(microsecond=0),
        keys={**known, **held},
        roles={name: Role(ids, THRESHOLD if name in {"root", "targets"} else 1) for name, ids in roles.items()},
        consistent_snapshot=True,
        unrecognized_fields={
            field: _named(keys.online_key(online[name], set(known))) for name, field in ONLINE.items()
        },
    )
    return _signed(Metadata(document), signers)


def next_root(present: bytes, online: dict[str, Any], signers: list[Path], officers: list[Path] | None = None) -> bytes:
    """Return the root that follows another one: with other online keys, other officers, or both.

    Args:
        present: the installed root.
        online: by name, the public online key that the new root shall name, or a list of them; those not named stay.
        signers: private keys of at least two officers of the present root, and of two of the new one.
        officers: public halves of everybody who shall be an officer; None when nobody changes.
    """
    document = Metadata[Root].from_bytes(present)
    root = document.signed
    root.version += 1
    root.expires = (clock.now() + LIFE).replace(microsecond=0)
    if strange := sorted(set(online) - {*ONLINE, "snapshot", "timestamp"}):
        msg = f"{strange[0][:40]!r} is no online role; nothing was signed."
        raise InvalidError(msg)
    people = set(root.roles["root"].keyids) | set(root.roles["targets"].keyids)
    for name, given in online.items():
        wanted = [keys.online_key(one, people) for one in (given if isinstance(given, list) else [given])]
        if name in ONLINE:
            root.unrecognized_fields[ONLINE[name]] = _named(*wanted)
            continue
        for keyid in list(root.roles[name].keyids):
            root.revoke_key(keyid, name)
        for key in wanted:
            root.add_key(key, name)
    if officers:
        _exchange(root, officers)
    document.signatures.clear()
    return _signed(document, signers)


def _exchange(root: Root, officers: list[Path]) -> None:
    """Give the roles of people to others."""
    for role in ("root", "targets"):
        for keyid in list(root.roles[role].keyids):
            root.revoke_key(keyid, role)
        for path in officers:
            root.add_key(keys.officer(path)[1], role)


def first_targets(root: bytes, signers: list[Path], bit_length: int = 8) -> bytes:
    """Return the first targets with their hash bins, all empty and signed: a JSON map of role to document.

    Args:
        root: the root that names the officers.
        signers: private keys of at least two officers.
        bit_length: 2 ** bit_length bins (TUF's succinct roles); 8 serve some 10,000 bundles well.
    """
    known = Metadata[Root].from_bytes(root).signed
    role = known.roles[Targets.type]
    keys_ = {keyid: known.keys[keyid] for keyid in role.keyids}
    bins = SuccinctRoles(list(keys_), role.threshold, bit_length, "b")
    expires = (clock.now() + LIFE).replace(microsecond=0)
    targets = Targets(version=1, expires=expires, delegations=Delegations(keys_, succinct_roles=bins))
    whole = {Targets.type: targets}
    for name in bins.get_roles():
        whole[name] = Targets(version=1, expires=expires, unrecognized_fields={BIN_FIELD: name})
    signed = {name: json.loads(_signed(Metadata(one), signers)) for name, one in whole.items()}
    return json.dumps(signed, separators=(",", ":"), sort_keys=True).encode()


def _named(*wanted: SSlibKey) -> dict[str, Any]:
    facts = {key.keyid: {"keytype": key.keytype, "scheme": key.scheme, "keyval": key.keyval} for key in wanted}
    return {"keyids": list(facts), "threshold": 1, "keys": facts}


def _signed(document: Metadata[Any], signers: list[Path]) -> bytes:
    for path in signers:
        document.sign(keys.signer(path), append=True)
    return document.to_bytes(JSONSerializer(compact=True))
