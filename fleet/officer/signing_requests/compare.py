"""Find what a signing request changes, and refuse whatever it would change beside what it is for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from tuf.api.metadata import Metadata, Root, TargetFile, Targets

from fleet.officer import bin_layout, metadata
from fleet.officer.signing_requests.read import Documents, SigningRequest, exhibit_of, parse_exhibit
from ota.contract import root_keys
from ota.contract.field_names import FLOORS_FIELD
from pki.kernel import clock
from pki.kernel.errors import InvalidError
from pki.kernel.public_keys import key_identity, read_tuf_fields

BIN_PREFIX, MOST_BITS = "b", 14
#: a version may leap this far: numbers of requests that nobody signed are lost
MOST_LEAP = 10_000
LONGEST_LIFE = timedelta(days=400)
#: a SUIT sequence is the time of the request; officers take their time
MOST_LATE = 30 * 86400


@dataclass(frozen=True, slots=True)
class Change:
    """What the documents of a signing request change.

    Args:
        added: bundles by path.
        marked: path to the reason of a withdrawal.
        odd: what no signing request may do, one sentence each.
        floors: component and hardware class to the floor before and after.
    """

    added: Mapping[str, TargetFile]
    marked: Mapping[str, str]
    odd: tuple[str, ...]
    floors: Mapping[tuple[str, str], tuple[int, int]]


def check_request(request: SigningRequest, roots: Sequence[bytes], seen: Mapping[str, int] | None = None) -> Change:
    """Return what a signing request changes, when that is what it is for and nothing else.

    Args:
        request: as it was read.
        roots: the officers' own copies of TUF roots, the newest first: they prove what holds now, which else were the
            server's word. Former ones are needed once, after officers were exchanged.
        seen: the newest version of each role that this officer has seen: an older one is not what holds now.

    Raises:
        InvalidError: it would do something else beside; one sentence says what.
    """
    known = [metadata.read_root(one).signed for one in roots]
    own = known[0]
    root_keys.check_root_keys(own.to_dict())
    _require_signed(request.before, known)
    found = compare_request(request)
    odd = [
        *bin_layout.wrong(request.kind, request.documents, request.before),
        *found.odd,
        *_date_faults(request),
        *_delegation_faults(request, own),
        *_rollback_faults(request, seen or {}),
    ]
    odd += _floors_above_releases(request, found)
    wanted = {
        "release": len(found.added) == 1 and not found.marked,
        "withdrawal": not found.added and len(found.marked) == 1 and not found.floors,
        "floors": not found.added and not found.marked and bool(found.floors),
        "renewal": not found.added and not found.marked and not found.floors,
    }
    if not wanted.get(request.kind, False):
        odd.append(f"It calls itself a {request.kind[:20]}, and does something else.")
    odd += [
        f"The bundle.json of {path} is not in the request." for path in found.added if not exhibit_of(request, path)
    ]
    if odd:
        msg = f"Do not sign this request: {odd[0]}"
        raise InvalidError(msg)
    return found


def compare_request(request: SigningRequest) -> Change:
    """Return everything that a request changes, whatever it is for."""
    changed = {role: one for role, one in request.before.items() if role in request.documents}
    before, after = _target_files(changed), _target_files(request.documents)
    added = {path: target for path, target in after.items() if path not in before}
    odd = [f"It removes {path}." for path in before if path not in after]
    marked = {}
    for path, target in after.items():
        was = before.get(path)
        if was is None:
            odd += [f"It adds {path} with more than its digest."] if target.unrecognized_fields else []
        elif was != target:
            reason = _withdrawal_reason(was, target)
            marked[path] = reason
            odd += [] if reason else [f"It changes {path}, which people have signed."]
    odd += _other_changes(request)
    return Change(added, marked, tuple(odd), _changed_floors(request))


def _require_signed(before: Documents, roots: Sequence[Root]) -> None:
    for role, one in before.items():
        if not any(_is_signed_by(root, one) for root in roots):
            msg = f"What the signing request calls the present {role} was not signed by the officers of this root."
            raise InvalidError(msg)


def _is_signed_by(root: Root, document: Metadata[Targets]) -> bool:
    """Say whether enough officers of a root signed a document: different keys, not different ids."""
    result = root.get_verification_result(Targets.type, document.signed_bytes, document.signatures)
    signers = {key_identity(read_tuf_fields(key.to_dict())) for key in result.signed.values()}
    return bool(result) and len(signers) >= max(result.threshold, root_keys.THRESHOLD)


def _target_files(documents: Documents) -> dict[str, TargetFile]:
    return {path: target for one in documents.values() for path, target in one.signed.targets.items()}


def _withdrawal_reason(was: TargetFile, now: TargetFile) -> str:
    """Return the reason when nothing but a withdrawal was added, else nothing."""
    custom = now.custom if isinstance(now.custom, dict) else {}
    only = set(now.unrecognized_fields) == {"custom"} and set(custom) == {"withdrawn"} and not was.unrecognized_fields
    same = (was.length, was.hashes) == (now.length, now.hashes)
    return str(custom["withdrawn"]) if only and same else ""


def _other_changes(request: SigningRequest) -> list[str]:
    """Return what a signing request changes beside entries and floors: who may sign bins, fields that nobody knows."""
    found = []
    for role, one in request.documents.items():
        was = request.before.get(role)
        if role == Targets.type and set(one.signed.unrecognized_fields) - {FLOORS_FIELD}:
            found.append(f"{role} has fields that this tool does not know.")
        if role == Targets.type and was and request.kind != "renewal" and _delegations_of(was) != _delegations_of(one):
            found.append("It changes who signs the bins.")
        if was is None and request.kind != "renewal":
            found.append(f"It does not say what {role} is now.")
    return found


def _delegation_faults(request: SigningRequest, root: Root) -> list[str]:
    """Return whether targets hand the bins to anybody but the officers whom the root names."""
    if Targets.type not in request.documents:
        return []
    delegations = request.documents[Targets.type].signed.delegations
    roles, wanted = delegations.succinct_roles if delegations else None, root.roles[Targets.type]
    same = delegations is not None and {keyid: key.to_dict() for keyid, key in delegations.keys.items()} == {
        keyid: root.keys[keyid].to_dict() for keyid in wanted.keyids
    }
    named = roles is not None and roles.name_prefix == BIN_PREFIX and 0 < roles.bit_length <= MOST_BITS
    if roles and named and same and set(roles.keyids) == set(wanted.keyids) and roles.threshold >= wanted.threshold:
        return []
    return ["It lets others than the officers of this root sign the bins."]


def _rollback_faults(request: SigningRequest, seen: Mapping[str, int]) -> list[str]:
    """Return where a request builds on less than what this officer has seen, which could undo a withdrawal."""
    found = []
    for role in {*request.before, *request.documents}:
        base = request.before[role].signed.version if role in request.before else 0
        if base < seen.get(role, 0):
            found.append(f"It builds on version {base} of {role}, and you have seen version {seen[role]}.")
    return sorted(found)


def _floors_above_releases(request: SigningRequest, change: Change) -> list[str]:
    """Return floors above everything that is released: such devices could never be updated again."""
    texts = [
        parse_exhibit(request.exhibits[one.hashes["sha256"]])
        for one in _listed_files(request)
        if one.hashes.get("sha256") in request.exhibits
    ]
    found = []
    for (component, hardware), (_, floor) in change.floors.items():
        fitting = (
            one["security_counter"]
            for one in texts
            if one.get("component") == component and hardware in {model.get("class_id") for model in one.get("hw", [])}
        )
        if floor > max((one for one in fitting if type(one) is int), default=0):
            found.append(f"The floor {floor} of {component} is above what the signing request shows to be released.")
    return found


def _listed_files(request: SigningRequest) -> list[TargetFile]:
    """Return what is listed and not withdrawn, once the signing request is signed."""
    listed = {**_target_files(request.before), **_target_files(request.documents)}
    return [one for one in listed.values() if not one.unrecognized_fields]


def _delegations_of(document: Metadata[Targets]) -> dict[str, object] | None:
    return document.signed.delegations.to_dict() if document.signed.delegations else None


def _changed_floors(request: SigningRequest) -> dict[tuple[str, str], tuple[int, int]]:
    """Return the floors that change."""
    was, now = (
        (one[Targets.type].signed if Targets.type in one else None) for one in (request.before, request.documents)
    )
    known, wanted = _floors_by_class(was), _floors_by_class(now) if now else _floors_by_class(was)
    changed = sorted(key for key in known.keys() | wanted.keys() if known.get(key) != wanted.get(key))
    return {key: (known.get(key, 0), wanted.get(key, 0)) for key in changed}


def _floors_by_class(targets: Targets | None) -> dict[tuple[str, str], int]:
    """Return the floors by component and hardware class.

    Raises:
        InvalidError: something stands there that is none.
    """
    found = targets.unrecognized_fields.get(FLOORS_FIELD, {}) if targets else {}
    try:
        flat = {(component, one): floor for component, by in found.items() for one, floor in by.items()}
    except AttributeError as error:
        msg = "Do not sign this request: its floors are malformed."
        raise InvalidError(msg) from error
    if any(type(floor) is not int or floor < 1 for floor in flat.values()):
        msg = "Do not sign this request: its floors are malformed."
        raise InvalidError(msg)
    return flat


def _date_faults(request: SigningRequest) -> list[str]:
    late = request.sequence and abs(request.sequence - clock.unix()) > MOST_LATE
    found = ["Its manifests' sequence is not of these weeks; a high one could shut devices out."] if late else []
    found += [f"It lowers the floor of {key[0]}." for key, (was, now) in _changed_floors(request).items() if now < was]
    for role, one in request.documents.items():
        was = request.before[role].signed.version if role in request.before else 0
        if not was < one.signed.version <= was + MOST_LEAP:
            found.append(f"The version of {role} would be {one.signed.version} after {was}.")
        if one.signed.expires > clock.now() + LONGEST_LIFE:
            found.append(f"{role} would live until {one.signed.expires:%Y-%m-%d}.")
    return found
