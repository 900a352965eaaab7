"""TUF documents that people make: the root, the root that follows it, and the first targets with their bins."""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path

from securesystemslib.signer import SSlibKey
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Delegations, Metadata, Role, Root, SuccinctRoles, Targets
from tuf.api.serialization.json import JSONSerializer

from fleet.officer import keys
from ota.contract import root_keys, tuf_json
from ota.contract.field_names import BIN_FIELD
from pki.kernel import clock
from pki.kernel.errors import InvalidError
from pki.kernel.public_keys import key_identity, read_tuf_fields

LIFE = timedelta(days=365)
THRESHOLD = root_keys.THRESHOLD
ONLINE = root_keys.ONLINE_FIELDS


def root(officers: list[Path], online: Mapping[str, object], signers: list[Path]) -> bytes:
    """Return a first root, signed; see ``make_root``.

    Args:
        officers: public halves.
        online: the server's public online keys by name.
        signers: private keys of at least two officers.
    """
    return sign_document(make_root(officers, online), signers)


def make_root(officers: list[Path], online: Mapping[str, object]) -> Metadata[Root]:
    """Return an unsigned first root: officers hold root and targets 2 of n, the server the online roles.

    Raises:
        InvalidError: a key or a person would count twice, or an online key is an officer's.
    """
    known = _people(officers)
    people = {key_identity(read_tuf_fields(key.to_dict())) for key in known.values()}
    roles = {"root": list(known), "targets": list(known)}
    held: dict[str, SSlibKey] = {}
    for name in root_keys.ONLINE_ROLES:
        key = keys.online_key(_named_key(online, name), people)
        held[key.keyid] = key
        roles[name] = [key.keyid]
    document = Root(
        version=1,
        expires=_end(),
        keys={**known, **held},
        roles={name: Role(ids, THRESHOLD if name in {"root", "targets"} else 1) for name, ids in roles.items()},
        consistent_snapshot=True,
        unrecognized_fields={
            field: _named(keys.online_key(_named_key(online, name), people)) for name, field in ONLINE.items()
        },
    )
    root_keys.check_root_keys(document.to_dict())
    return Metadata(document)


def _named_key(online: Mapping[str, object], name: str) -> object:
    if name not in online:
        msg = f"The online keys have no {name}. Give the file that `manage.py release online-keys` printed."
        raise InvalidError(msg)
    return online[name]


def _people(officers: list[Path]) -> dict[str, SSlibKey]:
    """Return the keys of officers by id; a key that is given twice is refused."""
    found: dict[str, SSlibKey] = {}
    for path in officers:
        name, key = keys.officer(path)
        if key.keyid in found:
            msg = f"{path}: this is the key of {keys.holder(found[key.keyid])} too. One key is one person ({name})."
            raise InvalidError(msg)
        found[key.keyid] = key
    return found


def next_root(
    present: bytes, online: Mapping[str, object], signers: list[Path], officers: list[Path] | None = None
) -> bytes:
    """Return the root that follows another one, signed; see ``make_next_root``.

    Args:
        present: the installed root.
        online: by name, the public online key that the new root shall name, or a list of them; those not named stay.
        signers: private keys of at least two officers of the present root, and of two of the new one.
        officers: public halves of everybody who shall be an officer; None when nobody changes.
    """
    return sign_document(make_next_root(present, online, officers), signers)


def make_next_root(present: bytes, online: Mapping[str, object], officers: list[Path] | None = None) -> Metadata[Root]:
    """Return the unsigned root that follows another one: with other online keys, other officers, or both.

    Raises:
        InvalidError: a key or a person would count twice, or sit where it may not.
    """
    document = read_root(present)
    root = document.signed
    before = root_keys.read_root_keys(root.to_dict())
    root.version += 1
    root.expires = _end()
    if strange := sorted(set(online) - {*ONLINE, *root_keys.ONLINE_ROLES}):
        msg = f"{strange[0][:40]!r} is no online role; nothing was signed."
        raise InvalidError(msg)
    people = {one for held in before.people.values() for one in held.values()}
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
    root_keys.check_root_keys(root.to_dict(), before.online_identities())
    document.signatures.clear()
    return document


def read_root(data: bytes) -> Metadata[Root]:
    """Return the root in a file.

    Raises:
        InvalidError: it is none, or its own people have not signed it.
    """
    try:
        document = Metadata[Root].from_bytes(data, tuf_json.StrictDeserializer())
        document.verify_delegate(Root.type, document)  # whatever is no root has no such role
    except (RepositoryError, ValueError, KeyError, TypeError, AttributeError) as error:
        msg = f"This is no TUF root that its own officers signed: {error}"
        raise InvalidError(msg) from error
    return document


def _exchange(root: Root, officers: list[Path]) -> None:
    """Give the roles of people to others."""
    people = _people(officers)
    for role in ("root", "targets"):
        for keyid in list(root.roles[role].keyids):
            root.revoke_key(keyid, role)
        for key in people.values():
            root.add_key(key, role)


def first_targets(root: bytes, signers: list[Path], bit_length: int = 8) -> bytes:
    """Return the first targets with their hash bins, all empty and signed: a JSON map of role to document.

    Args:
        root: the root that names the officers.
        signers: private keys of at least two officers.
        bit_length: 2 ** bit_length bins (TUF's succinct roles); 8 serve some 10,000 bundles well.

    Raises:
        InvalidError: the root names a key or a person twice.
    """
    known = Metadata[Root].from_bytes(root, tuf_json.StrictDeserializer()).signed
    root_keys.check_root_keys(known.to_dict())
    role = known.roles[Targets.type]
    keys_ = {keyid: known.keys[keyid] for keyid in role.keyids}
    bins = SuccinctRoles(list(keys_), role.threshold, bit_length, "b")
    expires = _end()
    targets = Targets(version=1, expires=expires, delegations=Delegations(keys_, succinct_roles=bins))
    whole = {Targets.type: targets}
    for name in bins.get_roles():
        whole[name] = Targets(version=1, expires=expires, unrecognized_fields={BIN_FIELD: name})
    signed = {name: json.loads(sign_document(Metadata(one), signers)) for name, one in whole.items()}
    return json.dumps(signed, separators=(",", ":"), sort_keys=True).encode()


def _end() -> datetime:
    return (clock.now() + LIFE).replace(microsecond=0)


def _named(*wanted: SSlibKey) -> dict[str, object]:
    facts = {key.keyid: {"keytype": key.keytype, "scheme": key.scheme, "keyval": key.keyval} for key in wanted}
    return {"keyids": list(facts), "threshold": 1, "keys": facts}


def sign_document(document: Metadata[Root] | Metadata[Targets], signers: list[Path]) -> bytes:
    """Return a document with the signatures of private keys."""
    for path in signers:
        document.sign(keys.signer(path), append=True)
    return document.to_bytes(JSONSerializer(compact=True))
