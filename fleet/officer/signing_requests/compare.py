"""Find what a signing request changes, and refuse any change that its kind does not allow."""

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
#: largest step between two versions: signing requests that were never signed also use up version numbers
MOST_LEAP = 10_000
LONGEST_LIFE = timedelta(days=400)
#: a SUIT sequence is the time of the request; officers may sign up to this many seconds later
MOST_LATE = 30 * 86400


@dataclass(frozen=True, slots=True)
class RequestedChange:
    """What the documents of a signing request change.

    Args:
        added: added bundles by path.
        marked: path of a withdrawn bundle to the reason.
        odd: changes that no signing request may make, one sentence each.
        floors: component and hardware class to the counter floor before and after.
    """

    added: Mapping[str, TargetFile]
    marked: Mapping[str, str]
    odd: tuple[str, ...]
    floors: Mapping[tuple[str, str], tuple[int, int]]


def check_request(
    request: SigningRequest, roots: Sequence[bytes], seen: Mapping[str, int] | None = None
) -> RequestedChange:
    """Return what a signing request changes. Refuse it unless the changes are exactly those of its kind.

    Args:
        request: the signing request.
        roots: the officers' own copies of TUF roots, newest first. They verify the current metadata in the request,
            which would otherwise rest on the server alone. Earlier roots are needed once, after officers changed.
        seen: newest version of each role that this officer has seen; older metadata is not current.

    Raises:
        InvalidError: it changes something else; the error says what.
    """
    known = [metadata.read_root(root).signed for root in roots]
    own = known[0]
    root_keys.check_root_keys(own.to_dict())
    _require_signed(request.before, known)
    change = compare_request(request)
    odd = [
        *bin_layout.find_misplaced(request.kind, request.documents, request.before),
        *change.odd,
        *_date_faults(request),
        *_delegation_faults(request, own),
        *_rollback_faults(request, seen or {}),
    ]
    odd += _floors_above_releases(request, change)
    wanted = {
        "release": len(change.added) == 1 and not change.marked,
        "withdrawal": not change.added and len(change.marked) == 1 and not change.floors,
        "floors": not change.added and not change.marked and bool(change.floors),
        "renewal": not change.added and not change.marked and not change.floors,
    }
    if not wanted.get(request.kind, False):
        odd.append(f"Its kind is {request.kind[:20]}, but it changes something else.")
    odd += [f"It does not include the bundle.json of {path}." for path in change.added if not exhibit_of(request, path)]
    if odd:
        msg = f"Do not sign this request: {odd[0]}"
        raise InvalidError(msg)
    return change


def compare_request(request: SigningRequest) -> RequestedChange:
    """Return all changes of a signing request, whatever its kind."""
    changed = {role: document for role, document in request.before.items() if role in request.documents}
    before, after = _target_files(changed), _target_files(request.documents)
    added = {path: target for path, target in after.items() if path not in before}
    odd = [f"It removes {path}." for path in before if path not in after]
    marked = {}
    for path, target in after.items():
        was = before.get(path)
        if was is None:
            odd += [f"It adds {path} with fields other than length and hashes."] if target.unrecognized_fields else []
        elif was != target:
            reason = _withdrawal_reason(was, target)
            marked[path] = reason
            odd += [] if reason else [f"It changes {path}, which officers already signed."]
    odd += _other_changes(request)
    return RequestedChange(added, marked, tuple(odd), _changed_floors(request))


def _require_signed(before: Documents, roots: Sequence[Root]) -> None:
    for role, document in before.items():
        if not any(_is_signed_by(root, document) for root in roots):
            msg = f"Do not sign this request: the officers of your TUF root did not sign its current {role}."
            raise InvalidError(msg)


def _is_signed_by(root: Root, document: Metadata[Targets]) -> bool:
    """Return whether enough officers of a root signed a document. Count distinct keys, not key ids."""
    result = root.get_verification_result(Targets.type, document.signed_bytes, document.signatures)
    signers = {key_identity(read_tuf_fields(key.to_dict())) for key in result.signed.values()}
    return bool(result) and len(signers) >= max(result.threshold, root_keys.THRESHOLD)


def _target_files(documents: Documents) -> dict[str, TargetFile]:
    return {path: target for document in documents.values() for path, target in document.signed.targets.items()}


def _withdrawal_reason(was: TargetFile, now: TargetFile) -> str:
    """Return the reason of a withdrawal if nothing else changed, else an empty text."""
    custom = now.custom if isinstance(now.custom, dict) else {}
    only = set(now.unrecognized_fields) == {"custom"} and set(custom) == {"withdrawn"} and not was.unrecognized_fields
    same = (was.length, was.hashes) == (now.length, now.hashes)
    return str(custom["withdrawn"]) if only and same else ""


def _other_changes(request: SigningRequest) -> list[str]:
    """Return other changes than entries and floors: delegations of the hash bins, and unknown fields."""
    changes = []
    for role, document in request.documents.items():
        was = request.before.get(role)
        if role == Targets.type and set(document.signed.unrecognized_fields) - {FLOORS_FIELD}:
            changes.append(f"{role} has unknown fields.")
        if (
            role == Targets.type
            and was
            and request.kind != "renewal"
            and _delegations_of(was) != _delegations_of(document)
        ):
            changes.append("It changes the delegation of the hash bins.")
        if was is None and request.kind != "renewal":
            changes.append(f"It does not include the current {role}.")
    return changes


def _delegation_faults(request: SigningRequest, root: Root) -> list[str]:
    """Return a fault if the targets delegate the hash bins to keys other than the officers' keys in the root."""
    if Targets.type not in request.documents:
        return []
    delegations = request.documents[Targets.type].signed.delegations
    roles, role = delegations.succinct_roles if delegations else None, root.roles[Targets.type]
    same = delegations is not None and {keyid: key.to_dict() for keyid, key in delegations.keys.items()} == {
        keyid: root.keys[keyid].to_dict() for keyid in role.keyids
    }
    named = roles is not None and roles.name_prefix == BIN_PREFIX and 0 < roles.bit_length <= MOST_BITS
    if roles and named and same and set(roles.keyids) == set(role.keyids) and roles.threshold >= role.threshold:
        return []
    return ["It delegates the hash bins to keys that are not those of the officers of your TUF root."]


def _rollback_faults(request: SigningRequest, seen: Mapping[str, int]) -> list[str]:
    """Return where a request builds on older metadata than this officer has seen. It could undo a withdrawal."""
    faults = []
    for role in {*request.before, *request.documents}:
        base = request.before[role].signed.version if role in request.before else 0
        if base < seen.get(role, 0):
            faults.append(f"It builds on version {base} of {role}, but you have already seen version {seen[role]}.")
    return sorted(faults)


def _floors_above_releases(request: SigningRequest, change: RequestedChange) -> list[str]:
    """Return floors above the counters of all releases: these devices could never be updated again."""
    texts = [
        parse_exhibit(request.exhibits[file.hashes["sha256"]])
        for file in _listed_files(request)
        if file.hashes.get("sha256") in request.exhibits
    ]
    releases = []
    for (component, hardware), (_, floor) in change.floors.items():
        fitting = (
            text["security_counter"]
            for text in texts
            if text.get("component") == component
            and hardware in {model.get("class_id") for model in text.get("hw", [])}
        )
        if floor > max((one for one in fitting if type(one) is int), default=0):
            releases.append(f"The floor {floor} of {component} is above the counter of every release in the request.")
    return releases


def _listed_files(request: SigningRequest) -> list[TargetFile]:
    """Return the files that are listed and not withdrawn after the request is signed."""
    listed = {**_target_files(request.before), **_target_files(request.documents)}
    return [value for value in listed.values() if not value.unrecognized_fields]


def _delegations_of(document: Metadata[Targets]) -> dict[str, object] | None:
    return document.signed.delegations.to_dict() if document.signed.delegations else None


def _changed_floors(request: SigningRequest) -> dict[tuple[str, str], tuple[int, int]]:
    """Return the changed floors: before and after."""
    was, now = (
        (one[Targets.type].signed if Targets.type in one else None) for one in (request.before, request.documents)
    )
    known, wanted = _floors_by_class(was), _floors_by_class(now) if now else _floors_by_class(was)
    changed = sorted(key for key in known.keys() | wanted.keys() if known.get(key) != wanted.get(key))
    return {key: (known.get(key, 0), wanted.get(key, 0)) for key in changed}


def _floors_by_class(targets: Targets | None) -> dict[tuple[str, str], int]:
    """Return the floors by component and hardware class.

    Raises:
        InvalidError: a floor is malformed.
    """
    floors = targets.unrecognized_fields.get(FLOORS_FIELD, {}) if targets else {}
    try:
        flat = {(component, one): floor for component, by in floors.items() for one, floor in by.items()}
    except AttributeError as error:
        msg = "Do not sign this request: a floor must be a positive integer by component and hardware class."
        raise InvalidError(msg) from error
    if any(type(floor) is not int or floor < 1 for floor in flat.values()):
        msg = "Do not sign this request: a floor must be a positive integer by component and hardware class."
        raise InvalidError(msg)
    return flat


def _date_faults(request: SigningRequest) -> list[str]:
    late = request.sequence and abs(request.sequence - clock.unix()) > MOST_LATE
    faults = ["Its SUIT sequence is more than 30 days from now. It could block later updates."] if late else []
    faults += [f"It lowers the floor of {key[0]}." for key, (was, now) in _changed_floors(request).items() if now < was]
    for role, document in request.documents.items():
        was = request.before[role].signed.version if role in request.before else 0
        if not was < document.signed.version <= was + MOST_LEAP:
            faults.append(f"It sets {role} to version {document.signed.version}, and the current version is {was}.")
        if document.signed.expires > clock.now() + LONGEST_LIFE:
            faults.append(
                f"{role} expires on {document.signed.expires:%Y-%m-%d}, over {LONGEST_LIFE.days} days from now."
            )
    return faults
