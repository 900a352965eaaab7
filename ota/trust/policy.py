"""Who may sign what: rules over a root beyond TUF's own. Pure.

TUF's own rules come first, with python-tuf: a new root is signed by enough keys of the previous one and of itself, and
its version is the next one (TUF specification 1.0, 5.3.4 and 5.3.5).
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import Key, Signature
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

from ota.contract import root_keys
from ota.contract.field_names import BIN_FIELD
from ota.contract.root_keys import ONLINE_FIELDS, THRESHOLD
from ota.errors import MetadataError
from ota.trust.counting import signed_by_enough, signer_identities
from ota.trust.documents import BIN_PREFIX
from ota.trust.repository import delegated_bins
from pki.kernel.errors import InvalidError
from pki.kernel.names import check_person
from pki.kernel.public_keys import TufKey, key_identity, read_tuf_fields

Documents = Mapping[str, Metadata[Targets]]
ONLINE = (*root_keys.ONLINE_ROLES, *ONLINE_FIELDS)


def check_root(
    new: Metadata[Root],
    previous: Metadata[Root] | None,
    online: Mapping[str, Sequence[TufKey]],
    now: datetime,
    formerly_online: Iterable[str] = (),
) -> None:
    """Refuse a root that clients would refuse, or that gives away what people must hold.

    Args:
        new: the root to install.
        previous: the newest installed one, or None.
        online: the signer's public keys by name: the one that signs, and the next one if it is ready; the root
            may name either or both.
        now: the present time.
        formerly_online: identities (SHA-256 of the SubjectPublicKeyInfo) of keys that servers hold or held.

    Raises:
        MetadataError: one sentence says what is wrong.
    """
    _check_signatures(new, previous)
    root = new.signed
    if root.is_expired(now):
        msg = "The root has expired. Create one that is valid for a year."
        raise MetadataError(msg)
    if not root.consistent_snapshot:
        msg = "The root must use consistent snapshots."
        raise MetadataError(msg)
    _check_keys(root, {*formerly_online, *_identities(online)})
    _check_names(root, previous.signed if previous else None)
    for role in (Snapshot.type, Timestamp.type):
        if root.roles[role].threshold != 1:
            msg = f"The root's {role} needs a threshold of 1: one online key signs it."
            raise MetadataError(msg)
    for name, held in online.items():
        named = named_online(root, name)
        if not named or not named <= {entry["keyid"] for entry in held}:
            msg = f"The root's {name} key is not the one that this server's signer holds."
            raise MetadataError(msg)


def named_online(root: Root, name: str) -> set[str]:
    """Return the ids of the keys that a root names for an online role of TUF or of ours."""
    if name not in ONLINE_FIELDS:
        return set(root.roles[name].keyids)
    field = root.unrecognized_fields.get(ONLINE_FIELDS[name])
    keyids = field.get("keyids") if isinstance(field, dict) else None
    return {keyid for keyid in keyids if isinstance(keyid, str)} if isinstance(keyids, list) else set()


def role_officers(root: Root, role: str = Targets.type) -> dict[str, str]:
    """Return the officers of a role: key id to the name that the root itself gives."""
    return {keyid: officer_of(root.keys[keyid]) for keyid in root.roles[role].keyids if keyid in root.keys}


def officer_of(key: Key) -> str:
    """Return the person to whom a root gives a key, or the key id when it names no person."""
    return root_keys.officer_name(key.keyid, key.unrecognized_fields)


def check_targets(root: Root, document: Metadata[Targets]) -> None:
    """Refuse top-level targets that are not people's, or that hand the bins to anybody else.

    Raises:
        MetadataError: one sentence says what is wrong.
    """
    _demand_people(root, document)
    roles = delegated_bins(document.signed)
    if roles is None or document.signed.targets or roles.name_prefix != BIN_PREFIX:
        msg = "Targets must list no files themselves; they delegate to hash bins (`muster-sign tuf-targets`)."
        raise MetadataError(msg)
    role = root.roles[Targets.type]
    known = document.signed.delegations.keys if document.signed.delegations else {}
    same = all(keyid in known and known[keyid].to_dict() == root.keys[keyid].to_dict() for keyid in role.keyids)
    if set(roles.keyids) != set(role.keyids) or roles.threshold < role.threshold or not same:
        msg = "The bins must have the same signers and threshold as the targets."
        raise MetadataError(msg)


def check_whole(targets: Targets, given: Documents) -> None:
    """Refuse a set in which a bin is missing, or has one that the targets do not delegate to.

    Raises:
        MetadataError: it names the first one.
    """
    roles = delegated_bins(targets)
    wanted = set(roles.get_roles() if roles else ()) | {Targets.type}
    if odd := sorted(wanted ^ set(given)):
        msg = f"The set of targets and bins is not complete: {odd[0]} is missing or unexpected."
        raise MetadataError(msg)


def check_bin(root: Root, targets: Targets, role: str, document: Metadata[Targets]) -> None:
    """Refuse a bin that is not people's, or that lists what belongs elsewhere.

    Raises:
        MetadataError: one sentence says what is wrong.
    """
    _demand_people(root, document)
    roles = delegated_bins(targets)
    if roles is None or not roles.is_delegated_role(role):
        msg = f"The targets delegate to no {role[:60]!r}."
        raise MetadataError(msg)
    if not signed_by_enough(targets, role, document):
        msg = f"{role} is not signed by the people to whom the targets delegate it."
        raise MetadataError(msg)
    if document.signed.unrecognized_fields != {BIN_FIELD: role}:
        msg = f"{role} is not marked as that bin, or has extra fields."
        raise MetadataError(msg)
    strays = [path for path in document.signed.targets if roles.get_role_for_target(path) != role]
    if strays or document.signed.delegations:
        msg = f"{role} lists files that belong to another bin, or delegates further."
        raise MetadataError(msg)


def _demand_people(root: Root, document: Metadata[Targets]) -> None:
    """Refuse a document without the root's threshold in keys, and as many different people."""
    result = root.get_verification_result(Targets.type, document.signed_bytes, document.signatures)
    names = {officer_of(key) for key in result.signed.values()}
    threshold = max(root.roles[Targets.type].threshold, THRESHOLD)
    if len(signer_identities(result)) < threshold or len(names) < threshold:
        valid = ", ".join(sorted(names)) or "nobody"
        msg = f"Targets need the signatures of at least two officers; valid ones are of {valid}."
        raise MetadataError(msg)


def is_p256(root: Root, keyid: str) -> bool:
    """Return whether a key of the root can sign for microcontrollers (ES256)."""
    return keyid in root.keys and root.keys[keyid].scheme == "ecdsa-sha2-nistp256"


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
        msg = "The signature does not match this release. Sign the document that was prepared last."
        raise MetadataError(msg) from error
    return officer_of(root.keys[keyid])


def _check_signatures(new: Metadata[Root], previous: Metadata[Root] | None) -> None:
    before = previous.signed if previous else None
    try:
        result = new.signed.get_root_verification_result(before, new.signed_bytes, new.signatures)
    except ValueError as error:
        msg = f"The root does not follow the installed one: {error}"
        raise MetadataError(msg) from error
    enough = all(
        len(signer_identities(verification)) >= verification.threshold for verification in (result.first, result.second)
    )
    if not result or not enough:
        msg = "The root is not signed by enough of its officers' keys (and of those before it)."
        raise MetadataError(msg)


def _check_keys(root: Root, online: set[str]) -> None:
    """Refuse a root in which a key or a person counts twice, or a server's key sits among those of people."""
    try:
        root_keys.check_root_keys(root.to_dict(), online)
    except InvalidError as error:
        raise MetadataError(error.detail) from error


def _check_names(root: Root, previous: Root | None) -> None:
    """Refuse a new name that people would take for another one; names that were installed before stay."""
    before = (
        {name for role in root_keys.PEOPLE for name in role_officers(previous, role).values()} if previous else set()
    )
    try:
        for name in {officer for role in root_keys.PEOPLE for officer in role_officers(root, role).values()} - before:
            check_person(name)
    except InvalidError as error:
        raise MetadataError(error.detail) from error


def _identities(online: Mapping[str, Sequence[TufKey]]) -> set[str]:
    return {key_identity(read_tuf_fields(entry)) for held in online.values() for entry in held}
