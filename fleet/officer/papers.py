"""Papers: what a server asks officers to sign. It is believed in nothing: what changes is found here, and shown.

A paper (``prepared.json``) says what it is for: ``release`` adds one bundle, ``withdrawal`` marks one, ``floors``
raises counter floors, ``renewal`` dates everything anew. It brings the documents that hold now, signed by officers.
Whatever else a document would change is refused before anybody is asked.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, TargetFile, Targets

from fleet.officer import bin_layout, keys, metadata
from pki.kernel import canonical, clock, composite, files, root_keys, strict_json, suit, tuf_json
from pki.kernel.bundle_documents import BundleDocument
from pki.kernel.errors import InvalidError
from pki.kernel.public_keys import key_identity, read_tuf_fields

FLOORS_FIELD, BIN_PREFIX, MOST_BITS = "x-muster-floors", "b", 14
CONFIG = "config"
COMPOSITE = composite.COMPONENT
#: a version may leap this far: numbers of papers that nobody signed are lost
MOST_LEAP = 10_000
LONGEST_LIFE = timedelta(days=400)
#: a SUIT sequence is the time of the paper; officers take their time
MOST_LATE = 30 * 86400
MAX_BUNDLE, MAX_PAPER = 256 * 1024, 64 << 20
Documents = Mapping[str, Metadata[Targets]]


@dataclass(frozen=True, slots=True)
class Paper:
    """A paper as it was read.

    Args:
        statement: id, for the answer.
        kind: ``release``, ``withdrawal``, ``floors`` or ``renewal``.
        documents: to sign, by role.
        before: the same roles as they hold now.
        exhibits: texts by their SHA-256 in hex.
        sequence: of the SUIT manifests; 0 for none.
    """

    statement: str
    kind: str
    documents: Documents
    before: Documents
    exhibits: Mapping[str, str]
    sequence: int = 0


@dataclass(frozen=True, slots=True)
class Change:
    """What the documents of a paper change.

    Args:
        added: bundles by path.
        marked: path to the reason of a withdrawal.
        odd: what no paper may do, one sentence each.
        floors: component and hardware class to the floor before and after.
    """

    added: Mapping[str, TargetFile]
    marked: Mapping[str, str]
    odd: tuple[str, ...]
    floors: Mapping[tuple[str, str], tuple[int, int]]


def read(data: bytes) -> Paper:
    """Read a paper, and check that it is whole.

    Raises:
        InvalidError: malformed, damaged, or a text in it is not the one that is named.
    """
    try:
        # untyped: each fault of its shape is caught below
        value: Any = strict_json.read_json(data, max_bytes=MAX_PAPER, max_depth=tuf_json.MOST_DEPTH)
        documents, before = (
            {str(role): Metadata[Targets].from_dict(one) for role, one in value[name].items()}
            for name in ("documents", "before")
        )
        names, exhibits = (str(value["statement"]), str(value["kind"])), dict(value["exhibits"])
        paper = Paper(*names, documents, before, exhibits, int(value["sequence"]))
        digest = value["digest"]
        wrong = [name for name, text in paper.exhibits.items() if hashlib.sha256(text.encode()).hexdigest() != name]
    except (ValueError, KeyError, TypeError, AttributeError, RepositoryError, InvalidError) as error:
        msg = f"This is no paper to sign (`prepared.json`): {error}"
        raise InvalidError(msg) from error
    parts: dict[str, object] = {role: hashlib.sha256(one.signed_bytes).hexdigest() for role, one in documents.items()}
    parts["sequence"] = paper.sequence
    if hashlib.sha256(canonical.dumps(parts)).hexdigest() != digest or wrong or not documents:
        msg = "The paper is damaged: a digest in it is not that of what it names."
        raise InvalidError(msg)
    return paper


def check(paper: Paper, roots: Sequence[bytes], seen: Mapping[str, int] | None = None) -> Change:
    """Return what a paper changes, when that is what it is for and nothing else.

    Args:
        paper: as it was read.
        roots: the officers' own copies of TUF roots, the newest first: they prove what holds now, which else were the
            server's word. Former ones are needed once, after officers were exchanged.
        seen: the newest version of each role that this officer has seen: an older one is not what holds now.

    Raises:
        InvalidError: it would do something else beside; one sentence says what.
    """
    known = [metadata.read_root(one).signed for one in roots]
    own = known[0]
    root_keys.check_root_keys(own.to_dict())
    _demand_signed(paper.before, known)
    found = _compare(paper)
    odd = [
        *bin_layout.wrong(paper.kind, paper.documents, paper.before),
        *found.odd,
        *_dates(paper),
        *_given_away(paper, own),
        *_forgotten(paper, seen or {}),
    ]
    odd += _floors_too_high(paper, found)
    wanted = {
        "release": len(found.added) == 1 and not found.marked,
        "withdrawal": not found.added and len(found.marked) == 1 and not found.floors,
        "floors": not found.added and not found.marked and bool(found.floors),
        "renewal": not found.added and not found.marked and not found.floors,
    }
    if not wanted.get(paper.kind, False):
        odd.append(f"It calls itself a {paper.kind[:20]}, and does something else.")
    odd += [f"The bundle.json of {path} is not in the paper." for path in found.added if not _exhibit(paper, path)]
    if odd:
        msg = f"This paper is not to be signed: {odd[0]}"
        raise InvalidError(msg)
    return found


def seen(key: Path) -> dict[str, int]:
    """Return the newest version of each role that the holder of a key has seen, as it lies beside the key."""
    path = _memory(key)
    # untyped: written by this tool alone
    known: Any = strict_json.read_json(path.read_bytes(), max_bytes=MAX_BUNDLE) if path.exists() else {}
    return {str(role): int(version) for role, version in known.items()}


def remember(paper: Paper, key: Path) -> None:
    """Note which versions the holder of a key has seen."""
    known = seen(key)
    for role, one in paper.before.items():
        known[role] = max(known.get(role, 0), one.signed.version)
    files.write_private(_memory(key), json.dumps(known, sort_keys=True).encode())


def _memory(key: Path) -> Path:
    return key.with_name(f"{key.name}.seen.json")


def sign(paper: Paper, key: Path) -> bytes:
    """Return ``signature.json``: one signature for each document, and by a P-256 key for each SUIT manifest."""
    signer = keys.signer(key)
    payloads = {role: one.signed_bytes for role, one in paper.documents.items()}
    if signer.public_key.scheme == keys.P256:
        payloads |= {role: suit.to_be_signed(one) for role, one in manifests(paper).items()}
    sigs = {role: signer.sign(one).signature for role, one in payloads.items()}
    facts = {"statement": paper.statement, "keyid": signer.public_key.keyid, "sigs": sigs, "officer": key.stem}
    return json.dumps(facts, indent=1, sort_keys=True).encode()


def manifests(paper: Paper) -> dict[str, bytes]:
    """Return the SUIT manifests of what a paper releases, made here from its ``bundle.json``."""
    found = {}
    for path in _compare(paper).added if paper.sequence else ():
        for hardware, image in suit.images(bundle(paper, path), paper.sequence).items():
            found[f"suit-{hardware}"] = suit.manifest(image)
    return found


def bundle(paper: Paper, path: str) -> BundleDocument:
    """Return the ``bundle.json`` of a path that a paper adds or marks.

    Raises:
        InvalidError: it cannot be read, or belongs to another path.
    """
    value = _document(_exhibit(paper, path))
    try:
        own = f"{value['component']}/{value['id']}/{value['version']}/bundle.json"
    except (TypeError, KeyError) as error:
        msg = f"The bundle.json of {path} is malformed."
        raise InvalidError(msg) from error
    if own != path:
        msg = f"This paper is not to be signed: the bundle.json of {path} is that of {own}."
        raise InvalidError(msg)
    slots = {CONFIG, COMPOSITE} & {value.get("kind"), value["component"]}
    if slots and value.get("kind") != value["component"]:
        msg = f"This paper is not to be signed: {path} calls itself something else than it is."
        raise InvalidError(msg)
    return cast("BundleDocument", dict(value))


def _document(text: str) -> Any:  # untyped: of any shape: those who read it refuse what they do not find
    return canonical.loads(text.encode(), max_bytes=MAX_BUNDLE)


def _exhibit(paper: Paper, path: str) -> str:
    listed = (one.signed.targets.get(path) for one in paper.documents.values())
    target = next((one for one in listed if one), None)
    text = paper.exhibits.get(target.hashes.get("sha256", ""), "") if target else ""
    return text if target and len(text.encode()) == target.length else ""


def _demand_signed(before: Documents, roots: Sequence[Root]) -> None:
    for role, one in before.items():
        if not any(_signed_by(root, one) for root in roots):
            msg = f"What the paper calls the present {role} was not signed by the officers of this root."
            raise InvalidError(msg)


def _signed_by(root: Root, document: Metadata[Targets]) -> bool:
    """Say whether enough officers of a root signed a document: different keys, not different ids."""
    result = root.get_verification_result(Targets.type, document.signed_bytes, document.signatures)
    signers = {key_identity(read_tuf_fields(key.to_dict())) for key in result.signed.values()}
    return bool(result) and len(signers) >= max(result.threshold, root_keys.THRESHOLD)


def _compare(paper: Paper) -> Change:
    changed = {role: one for role, one in paper.before.items() if role in paper.documents}
    before, after = _entries(changed), _entries(paper.documents)
    added = {path: target for path, target in after.items() if path not in before}
    odd = [f"It removes {path}." for path in before if path not in after]
    marked = {}
    for path, target in after.items():
        was = before.get(path)
        if was is None:
            odd += [f"It adds {path} with more than its digest."] if target.unrecognized_fields else []
        elif was != target:
            reason = _withdrawal(was, target)
            marked[path] = reason
            odd += [] if reason else [f"It changes {path}, which people have signed."]
    odd += _others(paper)
    return Change(added, marked, tuple(odd), _floors(paper))


def _entries(documents: Documents) -> dict[str, TargetFile]:
    return {path: target for one in documents.values() for path, target in one.signed.targets.items()}


def _withdrawal(was: TargetFile, now: TargetFile) -> str:
    """Return the reason when nothing but a withdrawal was added, else nothing."""
    custom = now.custom if isinstance(now.custom, dict) else {}
    only = set(now.unrecognized_fields) == {"custom"} and set(custom) == {"withdrawn"} and not was.unrecognized_fields
    same = (was.length, was.hashes) == (now.length, now.hashes)
    return str(custom["withdrawn"]) if only and same else ""


def _others(paper: Paper) -> list[str]:
    """Return what a paper changes beside entries and floors: who may sign bins, fields that nobody knows."""
    found = []
    for role, one in paper.documents.items():
        was = paper.before.get(role)
        if role == Targets.type and set(one.signed.unrecognized_fields) - {FLOORS_FIELD}:
            found.append(f"{role} has fields that this tool does not know.")
        if role == Targets.type and was and paper.kind != "renewal" and _who(was) != _who(one):
            found.append("It changes who signs the bins.")
        if was is None and paper.kind != "renewal":
            found.append(f"It does not say what {role} is now.")
    return found


def _given_away(paper: Paper, root: Root) -> list[str]:
    """Return whether targets hand the bins to anybody but the officers whom the root names."""
    if Targets.type not in paper.documents:
        return []
    delegations = paper.documents[Targets.type].signed.delegations
    roles, wanted = delegations.succinct_roles if delegations else None, root.roles[Targets.type]
    same = delegations is not None and {keyid: key.to_dict() for keyid, key in delegations.keys.items()} == {
        keyid: root.keys[keyid].to_dict() for keyid in wanted.keyids
    }
    named = roles is not None and roles.name_prefix == BIN_PREFIX and 0 < roles.bit_length <= MOST_BITS
    if roles and named and same and set(roles.keyids) == set(wanted.keyids) and roles.threshold >= wanted.threshold:
        return []
    return ["It lets others than the officers of this root sign the bins."]


def _forgotten(paper: Paper, seen: Mapping[str, int]) -> list[str]:
    """Return where the paper builds on less than what this officer has seen: a withdrawal could be undone so."""
    found = []
    for role in {*paper.before, *paper.documents}:
        base = paper.before[role].signed.version if role in paper.before else 0
        if base < seen.get(role, 0):
            found.append(f"It builds on version {base} of {role}, and you have seen version {seen[role]}.")
    return sorted(found)


def _floors_too_high(paper: Paper, change: Change) -> list[str]:
    """Return floors above everything that is released: such devices could never be updated again."""
    texts = [
        _document(paper.exhibits[one.hashes["sha256"]])
        for one in _entries_of(paper)
        if one.hashes.get("sha256") in paper.exhibits
    ]
    found = []
    for (component, hardware), (_, floor) in change.floors.items():
        fitting = (
            one["security_counter"]
            for one in texts
            if one.get("component") == component and hardware in {model.get("class_id") for model in one.get("hw", [])}
        )
        if floor > max((one for one in fitting if type(one) is int), default=0):
            found.append(f"The floor {floor} of {component} is above what the paper shows to be released.")
    return found


def _entries_of(paper: Paper) -> list[TargetFile]:
    """Return what is listed and not withdrawn, once the paper is signed."""
    listed = {**_entries(paper.before), **_entries(paper.documents)}
    return [one for one in listed.values() if not one.unrecognized_fields]


def _who(document: Metadata[Targets]) -> dict[str, object] | None:
    return document.signed.delegations.to_dict() if document.signed.delegations else None


def _floors(paper: Paper) -> dict[tuple[str, str], tuple[int, int]]:
    """Return the floors that change."""
    was, now = ((one[Targets.type].signed if Targets.type in one else None) for one in (paper.before, paper.documents))
    known, wanted = _flat(was), _flat(now) if now else _flat(was)
    changed = sorted(key for key in known.keys() | wanted.keys() if known.get(key) != wanted.get(key))
    return {key: (known.get(key, 0), wanted.get(key, 0)) for key in changed}


def _flat(targets: Targets | None) -> dict[tuple[str, str], int]:
    """Return the floors by component and hardware class.

    Raises:
        InvalidError: something stands there that is none.
    """
    found = targets.unrecognized_fields.get(FLOORS_FIELD, {}) if targets else {}
    try:
        flat = {(component, one): floor for component, by in found.items() for one, floor in by.items()}
    except AttributeError as error:
        msg = "This paper is not to be signed: its floors are malformed."
        raise InvalidError(msg) from error
    if any(type(floor) is not int or floor < 1 for floor in flat.values()):
        msg = "This paper is not to be signed: its floors are malformed."
        raise InvalidError(msg)
    return flat


def _dates(paper: Paper) -> list[str]:
    late = paper.sequence and abs(paper.sequence - clock.unix()) > MOST_LATE
    found = ["Its manifests' sequence is not of these weeks; a high one could shut devices out."] if late else []
    found += [f"It lowers the floor of {key[0]}." for key, (was, now) in _floors(paper).items() if now < was]
    for role, one in paper.documents.items():
        was = paper.before[role].signed.version if role in paper.before else 0
        if not was < one.signed.version <= was + MOST_LEAP:
            found.append(f"The version of {role} would be {one.signed.version} after {was}.")
        if one.signed.expires > clock.now() + LONGEST_LIFE:
            found.append(f"{role} would live until {one.signed.expires:%Y-%m-%d}.")
    return found
