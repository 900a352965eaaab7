"""TUF documents that officers create: the first root, the next root, and the first targets with their hash bins."""

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


def signed_root(officers: list[Path], online: Mapping[str, object], signers: list[Path]) -> bytes:
    """Return a signed first root. See ``make_root``.

    Args:
        officers: public key files of the officers.
        online: the server's public online keys by name.
        signers: private key files of at least two officers.
    """
    return sign_document(make_root(officers, online), signers)


def make_root(officers: list[Path], online: Mapping[str, object]) -> Metadata[Root]:
    """Return an unsigned first root: 2 of n officers sign root and targets, the server signs the online roles.

    Raises:
        InvalidError: a key or a person counts twice, or an online key is an officer's key.
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
        msg = f"The online keys have no {name}. Use the output of `manage.py release online-keys`."
        raise InvalidError(msg)
    return online[name]


def _people(officers: list[Path]) -> dict[str, SSlibKey]:
    """Return the officers' keys by key id. Refuse a key that occurs twice."""
    people: dict[str, SSlibKey] = {}
    for path in officers:
        name, key = keys.load_officer(path)
        if key.keyid in people:
            msg = (
                f"{path}: {name} has the same key as {keys.key_owner(people[key.keyid])}. Officers need different keys."
            )
            raise InvalidError(msg)
        people[key.keyid] = key
    return people


def next_root(
    present: bytes, online: Mapping[str, object], signers: list[Path], officers: list[Path] | None = None
) -> bytes:
    """Return the signed next root. See ``make_next_root``.

    Args:
        present: the current root.
        online: online public key, or a list of them, by name; names that are absent keep their keys.
        signers: private key files of at least two officers of the current root, and of two of the new root.
        officers: public key files of all officers of the new root; None to keep the current officers.
    """
    return sign_document(make_next_root(present, online, officers), signers)


def make_next_root(present: bytes, online: Mapping[str, object], officers: list[Path] | None = None) -> Metadata[Root]:
    """Return the unsigned next root, with new online keys, new officers, or both.

    Raises:
        InvalidError: a key or a person counts twice, or has a role that it may not have.
    """
    document = read_root(present)
    root = document.signed
    before = root_keys.read_root_keys(root.to_dict())
    root.version += 1
    root.expires = _end()
    if strange := sorted(set(online) - {*ONLINE, *root_keys.ONLINE_ROLES}):
        msg = f"{strange[0][:40]!r} is not an online role. Nothing was signed."
        raise InvalidError(msg)
    people = {value for held in before.people.values() for value in held.values()}
    for name, given in online.items():
        online_keys = [keys.online_key(one, people) for one in (given if isinstance(given, list) else [given])]
        if name in ONLINE:
            root.unrecognized_fields[ONLINE[name]] = _named(*online_keys)
            continue
        for keyid in list(root.roles[name].keyids):
            root.revoke_key(keyid, name)
        for key in online_keys:
            root.add_key(key, name)
    if officers:
        _exchange(root, officers)
    root_keys.check_root_keys(root.to_dict(), before.online_identities())
    document.signatures.clear()
    return document


def read_root(data: bytes) -> Metadata[Root]:
    """Return the TUF root in a file.

    Raises:
        InvalidError: it is not a TUF root, or its own officers did not sign it.
    """
    try:
        document = Metadata[Root].from_bytes(data, tuf_json.StrictDeserializer())
        document.verify_delegate(Root.type, document)  # other metadata has no such role
    except (RepositoryError, ValueError, KeyError, TypeError, AttributeError) as error:
        msg = f"The file is not a TUF root signed by its own officers: {error}"
        raise InvalidError(msg) from error
    return document


def _exchange(root: Root, officers: list[Path]) -> None:
    """Replace the officers in the root and targets roles."""
    people = _people(officers)
    for role in ("root", "targets"):
        for keyid in list(root.roles[role].keyids):
            root.revoke_key(keyid, role)
        for key in people.values():
            root.add_key(key, role)


def first_targets(root: bytes, signers: list[Path], bit_length: int = 8) -> bytes:
    """Return the first targets with their hash bins, empty and signed, as a JSON object of role to document.

    Args:
        root: the root that lists the officers.
        signers: private key files of at least two officers.
        bit_length: 2 ** bit_length bins (TUF's succinct roles); 8 are enough for about 10,000 bundles.

    Raises:
        InvalidError: the root lists a key or a person twice.
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
    """Sign a document with private key files and return it."""
    for path in signers:
        document.sign(keys.load_signer(path), append=True)
    return document.to_bytes(JSONSerializer(compact=True))
