"""Who a TUF root really names: keys by value, people by name. One rule for server, officers' tool and device.

TUF lets the author of a root choose key ids (TAP 12), and counts ids. Here two ids of one key are one key, so that
nobody counts twice; such a root is refused, even if it is signed.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from ota.contract.field_names import DIRECTOR_FIELD, LEDGER_FIELD, OFFICER_FIELD
from pki.kernel import intake, public_keys
from pki.kernel.errors import InvalidError
from pki.kernel.names import LONGEST_PERSON, fold_person
from pki.kernel.public_keys import key_identity, read_tuf_fields, short_fingerprint

#: People who must agree, at least.
THRESHOLD = 2
PEOPLE = ("root", "targets")
#: what the server signs: by TUF's own roles, and by fields of ours
ONLINE_ROLES = ("snapshot", "timestamp")
ONLINE_FIELDS = {"director": DIRECTOR_FIELD, "ledger": LEDGER_FIELD}


@dataclass(frozen=True, slots=True)
class RootKeys:
    """The keys of a root by role: key id to identity.

    Args:
        people: of root and targets.
        online: of snapshot, timestamp, director and ledger.
        names: key id to the person whom the root names, for keys of people.
    """

    people: Mapping[str, Mapping[str, str]]
    online: Mapping[str, Mapping[str, str]]
    names: Mapping[str, str] = field(default_factory=dict)

    def online_identities(self) -> set[str]:
        """Return the identities of all online keys."""
        return {value for held in self.online.values() for value in held.values()}


def check_root_keys(signed: Mapping[str, object], formerly_online: Iterable[str] = ()) -> RootKeys:
    """Return the keys of a root in which each key and each person counts once, and no role shares another's keys.

    Args:
        signed: the signed part of a root.
        formerly_online: identities of keys that servers hold or held; no person may have one.

    Raises:
        InvalidError: one sentence says which keys collide, or which is malformed.
    """
    root = read_root_keys(signed)
    for role in PEOPLE:
        _check_role(signed, role, root)
    _check_online(root, set(formerly_online))
    return root


def read_root_keys(signed: Mapping[str, object]) -> RootKeys:
    """Return the keys of a root by value.

    Raises:
        InvalidError: a key is malformed, not accepted or named twice, or a role names one that is not there.
    """
    try:
        keys, held = intake.map_of(signed["keys"], "keys"), intake.map_of(signed["roles"], "roles")
        known = _identities("keys", keys)
        roles = {role: _chosen(role, _keyids(held[role], f"roles.{role}"), known) for role in (*PEOPLE, *ONLINE_ROLES)}
        online = {role: roles[role] for role in ONLINE_ROLES}
        for name, field in ONLINE_FIELDS.items():
            given = intake.map_of(signed.get(field, {"keys": {}, "keyids": []}), field)
            own = _identities(field, intake.map_of(given["keys"], f"{field}.keys"))
            online[name] = _chosen(name, _keyids(given, field), own)
        people = {role: roles[role] for role in PEOPLE}
        names = {
            keyid: officer_name(keyid, intake.map_of(keys[keyid], keyid))
            for person in people.values()
            for keyid in person
        }
    except (KeyError, TypeError, AttributeError) as error:
        msg = f"The root's keys or roles are malformed: {error}"
        raise InvalidError(msg) from error
    return RootKeys(people, online, names)


def officer_name(keyid: str, fields: Mapping[str, object]) -> str:
    """Return the person to whom a root gives a key, or the key id when it names no person."""
    name = fields.get(OFFICER_FIELD)
    return name if isinstance(name, str) and 0 < len(name) <= LONGEST_PERSON else keyid[:LONGEST_PERSON]


def refuse_twins(signed: Mapping[str, object]) -> None:
    """Refuse a root in which two key ids of one role are one key: a rule for any TUF root.

    Raises:
        InvalidError: it names the role.
    """
    keys = intake.map_of(signed["keys"], "keys")
    for role, held in intake.map_of(signed["roles"], "roles").items():
        _refuse_same(role, dict(_readable(_keyids(held, f"roles.{role}"), keys)))


def _keyids(held: object, field: str) -> list[str]:
    """Return the key ids that a role, or a field like one, names."""
    listed = intake.list_of(intake.map_of(held, field)["keyids"], f"{field}.keyids")
    return [intake.read_text(item, f"{field}.keyids") for item in listed]


def _readable(keyids: Iterable[str], keys: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Yield the identity of each key that is understood; the others verify nothing."""
    for keyid in keyids:
        try:
            yield keyid, key_identity(read_tuf_fields(keys.get(keyid)))
        except InvalidError:
            continue


def _identities(field: str, keys: Mapping[str, object]) -> dict[str, str]:
    identities = {}
    for keyid, fields in keys.items():
        try:
            identities[keyid] = key_identity(read_tuf_fields(fields))
        except InvalidError as error:
            msg = f"The root's key {keyid[:16]} is refused: {error.detail}"
            raise InvalidError(msg) from error
    _refuse_same(field, identities)
    return identities


def _chosen(role: str, keyids: Iterable[str], known: Mapping[str, str]) -> dict[str, str]:
    if missing := [keyid for keyid in keyids if keyid not in known]:
        msg = f"The root names {str(missing[0])[:16]} for {role}, but does not list that key."
        raise InvalidError(msg)
    return {keyid: known[keyid] for keyid in keyids}


def _refuse_same(field: str, identities: Mapping[str, str]) -> None:
    first: dict[str, str] = {}
    for keyid, identity in identities.items():
        other = first.setdefault(identity, keyid)
        if other != keyid:
            msg = (
                f"The root's {field} list one key twice: {other[:16]} and {keyid[:16]} are both the key "
                f"{short_fingerprint(identity)}. List each person's own key once."
            )
            raise InvalidError(msg)


def _check_role(signed: Mapping[str, object], role: str, keys: RootKeys) -> None:
    held = keys.people[role]
    threshold = intake.map_of(intake.map_of(signed["roles"], "roles")[role], f"roles.{role}").get("threshold")
    if type(threshold) is not int or threshold < THRESHOLD:
        msg = f"The root's threshold for {role} is 1; it must be at least {THRESHOLD}."
        raise InvalidError(msg)
    if len(held) < threshold:
        msg = f"The root's {role} needs {threshold} people but lists {len(held)}."
        raise InvalidError(msg)
    if nobody := [keyid for keyid in held if keys.names[keyid] == keyid[:LONGEST_PERSON]]:
        msg = (
            f"The root's {role} key {nobody[0][:16]} has no person's name. Add the officer with the NAME.pub.json "
            "that `keygen` writes."
        )
        raise InvalidError(msg)
    people = {fold_person(keys.names[keyid]) for keyid in held}
    if len(people) != len(held):
        msg = f"The {role} keys of the root must belong to different people, one key each."
        raise InvalidError(msg)


def _check_online(keys: RootKeys, formerly: set[str]) -> None:
    seen: dict[str, str] = {}
    for name, held in keys.online.items():
        for identity in held.values():
            if seen.setdefault(identity, name) != name:
                msg = f"The root gives {name} the online key of {seen[identity]}. Each role needs its own key."
                raise InvalidError(msg)
    for role, held in keys.people.items():
        for keyid, identity in held.items():
            if identity in seen or identity in formerly:
                msg = (
                    f"An online key may not sign {role}: {keys.names[keyid]}'s key {short_fingerprint(identity)} "
                    "is or was held by a server."
                )
                raise InvalidError(msg)


def describe_key(fields: Mapping[str, object]) -> str:
    """Return fingerprint and type of a TUF key object, as people compare them.

    Raises:
        InvalidError: it is no key.
    """
    key = read_tuf_fields(fields)
    return f"{short_fingerprint(key_identity(key))} ({public_keys.describe_type(key)})"
