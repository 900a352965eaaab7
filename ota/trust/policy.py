"""Who may sign what: rules over a root beyond TUF's own. Pure."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import Key, Signature, SSlibKey
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

from ota.errors import MetadataError

#: People who must agree, at least.
THRESHOLD = 2
OFFICER_FIELD = "x-muster-officer"
ONLINE_FIELDS = {"director": "x-muster-director", "ledger": "x-muster-ledger"}


def check_root(
    new: Metadata[Root],
    previous: Metadata[Root] | None,
    online: Mapping[str, Mapping[str, Any]],
    now: datetime,
) -> None:
    """Refuse a root that clients would refuse, or that gives away what people must hold.

    Args:
        new: the root to install.
        previous: the newest installed one, or None.
        online: the signer's public keys by name, each with its ``keyid``.
        now: the present time.

    Raises:
        MetadataError: one sentence says what is wrong.
    """
    _check_signatures(new, previous)
    root = new.signed
    if root.is_expired(now):
        msg = "The root has expired; make one that lives a year."
        raise MetadataError(msg)
    if not root.consistent_snapshot:
        msg = "The root must use consistent snapshots."
        raise MetadataError(msg)
    for role in (Root.type, Targets.type):
        _check_people(root, role, {entry["keyid"] for entry in online.values()})
    for role in (Snapshot.type, Timestamp.type):
        if set(root.roles[role].keyids) != {online[role]["keyid"]} or root.roles[role].threshold != 1:
            msg = f"The root's {role} key is not the one that this server's signer holds."
            raise MetadataError(msg)
    for name, field in ONLINE_FIELDS.items():
        named = root.unrecognized_fields.get(field)
        if not isinstance(named, dict) or named.get("keyids") != [online[name]["keyid"]]:
            msg = f"The root's {field} is not the {name} key that this server's signer holds."
            raise MetadataError(msg)


def officers(root: Root, role: str = Targets.type) -> dict[str, str]:
    """Return the officers of a role: key id to the name that the root itself gives."""
    return {keyid: officer_of(root.keys[keyid]) for keyid in root.roles[role].keyids if keyid in root.keys}


def officer_of(key: Key) -> str:
    """Return the person to whom a root gives a key, or the key id when it names nobody."""
    name = key.unrecognized_fields.get(OFFICER_FIELD)
    return name if isinstance(name, str) and 0 < len(name) <= 60 else key.keyid[:60]  # noqa: PLR2004  because it is the longest name of an officer


def signed_by(root: Root, payload: bytes, signatures: Mapping[str, Signature]) -> dict[str, str]:
    """Return who validly signed targets: key id to officer, of the officers that the root names."""
    result = root.get_verification_result(Targets.type, payload, dict(signatures))
    return {keyid: officer_of(key) for keyid, key in result.signed.items()}


def enough(root: Root, signers: Mapping[str, str]) -> bool:
    """Say whether these signers are enough: the root's threshold in keys, and as many different people."""
    threshold = max(root.roles[Targets.type].threshold, THRESHOLD)
    return len(signers) >= threshold and len(set(signers.values())) >= threshold


def verify_one(root: Root, keyid: str, sig: str, payload: bytes) -> str:
    """Check one officer's signature over targets and return the officer's name.

    Raises:
        MetadataError: the key may not sign targets, or the signature is wrong.
    """
    if keyid not in root.roles[Targets.type].keyids or keyid not in root.keys:
        msg = "This key may not sign releases: the root does not name it for targets."
        raise MetadataError(msg)
    try:
        root.keys[keyid].verify_signature(Signature(keyid, sig), payload)
    except UnverifiedSignatureError as error:
        msg = "The signature does not fit this release; sign the document that was prepared last."
        raise MetadataError(msg) from error
    return officer_of(root.keys[keyid])


def _check_signatures(new: Metadata[Root], previous: Metadata[Root] | None) -> None:
    before = previous.signed if previous else None
    try:
        result = new.signed.get_root_verification_result(before, new.signed_bytes, new.signatures)
    except ValueError as error:
        msg = f"The root does not follow the installed one: {error}"
        raise MetadataError(msg) from error
    if not result:
        msg = "The root is not signed by enough of its officers' keys (and of those before it)."
        raise MetadataError(msg)


def _check_people(root: Root, role: str, online: set[str]) -> None:
    keyids = root.roles[role].keyids
    if root.roles[role].threshold < THRESHOLD:
        msg = f"The root lets one key sign {role}; at least {THRESHOLD} people must."
        raise MetadataError(msg)
    if online & set(keyids):
        msg = f"An online key may not sign {role}."
        raise MetadataError(msg)
    keys = [root.keys[keyid] for keyid in keyids if keyid in root.keys]
    values = {key.keyval.get("public") for key in keys if isinstance(key, SSlibKey)}
    if len(values) != len(keyids) or len({officer_of(key) for key in keys}) != len(keyids):
        msg = f"The {role} keys of the root must belong to different people, one key each."
        raise MetadataError(msg)
