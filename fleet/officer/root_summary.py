"""Describe a TUF root or the first targets: officers and keys by fingerprint, never by file name."""

from collections.abc import Iterator, Mapping

from tuf.api.metadata import Root, Targets

from ota.contract import root_keys
from ota.contract.field_names import OFFICER_FIELD
from ota.contract.root_keys import ONLINE_FIELDS, ONLINE_ROLES, PEOPLE, describe_key
from pki.kernel.errors import InvalidError
from pki.kernel.public_keys import key_identity, read_tuf_fields
from pki.kernel.shown import make_printable

_KEY_FIELDS = {"keytype", "scheme", "keyval", OFFICER_FIELD}
_NAMED_FIELDS = {"keyids", "threshold", "keys"}
#: role -> identity of the key -> displayed text
Holders = dict[str, dict[str, str]]


def root_lines(new: Root, old: Root | None) -> list[str]:
    """Return the content of a root and its differences from the previous root, line by line.

    Args:
        new: the root to sign.
        old: the current root; None for the first root.

    Raises:
        InvalidError: the root contains something that this tool cannot show.
    """
    refuse_unshown_root(new)
    return [make_printable(line) for line in _lines(new, old)]


def refuse_unshown_root(root: Root) -> None:
    """Refuse a root with fields that would be signed but not shown.

    Raises:
        InvalidError: it names the first such field.
    """
    odd = [*(set(root.unrecognized_fields) - set(ONLINE_FIELDS.values()))]
    odd += [name for key in root.keys.values() for name in set(key.to_dict()) - _KEY_FIELDS]
    for role_field in ONLINE_FIELDS.values():
        field = root.unrecognized_fields.get(role_field, {})
        odd += (
            [f"{role_field}.{name}" for name in set(field) - _NAMED_FIELDS] if isinstance(field, dict) else [role_field]
        )
    odd += [f"{role}.{name}" for role, one in root.roles.items() for name in one.unrecognized_fields]
    if odd:
        msg = f"The root has the unknown field {min(odd)[:60]!r}. Nothing was signed."
        raise InvalidError(msg)


def _lines(new: Root, old: Root | None) -> Iterator[str]:
    before = f"{old.version} -> " if old else ""
    yield f"ROOT version {before}{new.version}, expires {new.expires:%Y-%m-%d}"
    was = role_holders(old) if old else {}
    for role, held in role_holders(new).items():
        former = was.get(role, {})
        yield f"{_head(role, new, old)}:"
        for identity, text in sorted(held.items(), key=lambda item: item[1]):
            yield f"  {text}{_mark(identity, text, former) if old else ''}"
        yield from (f"  {text}  REMOVED" for identity, text in sorted(former.items()) if identity not in held)
    yield from _shared_names(new)


def _mark(identity: str, text: str, former: Mapping[str, str]) -> str:
    if identity not in former:
        return "  ADDED"
    return "" if former[identity] == text else f"  was {former[identity]}"


def _head(role: str, new: Root, old: Root | None) -> str:
    if role not in new.roles:
        return f"{role} (online)"
    now, was = new.roles[role].threshold, old.roles[role].threshold if old else None
    changed = f", was {was}" if was not in {None, now} else ""
    kind = "people" if role in PEOPLE else "online"
    return f"{role} ({kind}): {now} of {len(new.roles[role].keyids)} must sign{changed}"


def role_holders(root: Root) -> Holders:
    """Return the key holders of each role: identity of the key to name and fingerprint.

    Raises:
        InvalidError: a key is malformed.
    """
    holders: Holders = {}
    for role in (*PEOPLE, *ONLINE_ROLES):
        holders[role] = dict(_holder(root.keys[keyid].to_dict(), keyid, role) for keyid in root.roles[role].keyids)
    for role, role_field in ONLINE_FIELDS.items():
        field = root.unrecognized_fields.get(role_field, {"keys": {}, "keyids": []})
        try:
            holders[role] = dict(_holder(field["keys"][keyid], keyid, role) for keyid in field["keyids"])
        except (KeyError, TypeError) as error:
            msg = f"The field {role_field} of the root is malformed. Nothing was signed."
            raise InvalidError(msg) from error
    return holders


def _holder(fields: Mapping[str, object], keyid: str, role: str) -> tuple[str, str]:
    name = root_keys.officer_name(keyid, fields) if role in PEOPLE else "key"
    return key_identity(read_tuf_fields(fields)), f"{name}: {describe_key(fields)}"


def _shared_names(root: Root) -> Iterator[str]:
    """Yield officers who have different keys for root and targets; each is one person, not two."""
    held = {
        role: {root.keys[keyid].to_dict().get(OFFICER_FIELD): keyid for keyid in root.roles[role].keyids}
        for role in PEOPLE
    }
    for name in sorted(str(one) for one in set(held["root"]) & set(held["targets"]) if one):
        if held["root"][name] != held["targets"][name]:
            yield f"NOTE: {name} has one key for root and another for targets"


def targets_lines(root: Root, bins: int, expires: str) -> list[str]:
    """Return the content of the first targets, line by line.

    Args:
        root: the root that lists the officers.
        bins: number of hash bins.
        expires: expiry date of the documents.
    """
    head = f"FIRST TARGETS with {bins} empty hash bins and no counter floors; expires {expires}"
    threshold = root.roles[Targets.type].threshold
    who = sorted(role_holders(root)[Targets.type].values())
    lines = [head, f"a release needs the signatures of {threshold} of these officers (root version {root.version}):"]
    return [make_printable(line) for line in [*lines, *(f"  {one}" for one in who)]]
