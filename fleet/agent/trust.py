"""Verify the TUF metadata and the director's document, and that both agree.

Numbers are steps of the TUF specification 1.0, section 5 ("Detailed client workflow"). python-tuf's ``Updater``
follows them; here it is bounded, and these checks are added to its own:

* 5.1 start time: ``memory.now``, which never goes below a time that was signed and seen;
* 5.2 trusted root: the factory's root and those that 5.3.8 kept, in which no key or person counts twice (``roots``);
* 5.3 root: the same of each new root, after its signatures (5.3.4) and before it is kept (5.3.8); after 5.3.11, what
  was learned from online keys that the root no longer names is forgotten (``memory.forget``);
* 5.4 timestamp: the check for a freeze attack once more, by the time of 5.1;
* 5.5 snapshot, with 5.4: neither may be older than what the director knows (``Trust._older``);
* 5.6 targets: they delegate to the officers of the root only, and a bin belongs to its own name (5.6.7);
* 5.7 target: the ``bundle.json`` that the officers listed, as it is read; then it must agree with the director.

The director's document is no TUF metadata: as in Uptane, a director names the target of one device. The root lists its
key.
"""

import re
import secrets
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict, TypeVar, cast
from urllib.parse import quote

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ed25519
from tuf.api.exceptions import DownloadError, DownloadHTTPError, DownloadLengthMismatchError, RepositoryError
from tuf.api.metadata import Root, TargetFile, Targets, Timestamp
from tuf.ngclient import Updater, UpdaterConfig

from fleet.agent import agreement, audit_log_monitor, memory, roots
from fleet.agent.agreement import SignedAssignment
from fleet.agent.coap import CoapTransport
from fleet.agent.errors import AgentError, AnswerError, RefusedError, TransportError
from fleet.agent.state import Settings, StateFile
from fleet.agent.transport import Transport
from ota.contract import composite, tuf_json
from ota.contract.bundle_documents import BundleDocument
from ota.contract.field_names import BIN_FIELD, DIRECTOR_FIELD, LEDGER_FIELD
from pki.kernel import canonical, clock
from pki.kernel.errors import InvalidError

MAX_DIRECTOR = 16 * 1024
#: longest metadata in bytes: W of the root (5.3.3), X of the timestamp (5.4.1), Y of the snapshot (5.5.1), Z of targets
#: and of bins (5.6.1)
MAX_ROOT, MAX_TIMESTAMP, MAX_SNAPSHOT, MAX_METADATA = 128 * 1024, 16 * 1024, 1024 * 1024, 512 * 1024
#: most root rotations in one check (Y of 5.3.3); the officers of the previous root sign each new root
MOST_NEW_ROOTS = 512
#: most roles that are visited in search of a target (5.6.7.1): the targets and one bin are enough
MOST_ROLES = 8
MOST_COMMANDS = 10
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_METADATA = "/v1/metadata/"
_Signed = TypeVar("_Signed", Root, Targets, Timestamp)


class Command(TypedDict):
    """A command: a UUID, one of five commands, and its RFC 3339 expiry time."""

    id: str
    kind: str
    expires: str


class DirectorDocument(TypedDict):
    """What the director signs for one request; that it is genuine says ``Trust``, which checks what it uses of it."""

    _type: str
    device: str
    nonce: str
    version: int
    issued: str
    expires: str
    newest: agreement.Newest
    assignments: list[object]
    commands: NotRequired[list[Command]]
    head: NotRequired[audit_log_monitor.Head]


#: of a document of the director
_TIMES: tuple[Literal["issued", "expires"], ...] = ("issued", "expires")


class _Fetcher(tuf_json.StrictFetcher):
    """Fetch metadata over the device's own connection."""

    def __init__(self, transport: Transport | CoapTransport) -> None:
        super().__init__()
        self._transport = transport

    def _fetch(self, url: str) -> Iterator[bytes]:
        # A version is a part of the path: in a URL its question and percent signs are no syntax; CoAP has none.
        path = quote(url, safe="/") if isinstance(self._transport, Transport) else url
        try:
            for _, chunk in self._transport.stream(path, MAX_METADATA):
                yield chunk
        except AnswerError as error:
            raise DownloadHTTPError(str(error), error.status) from error
        except TransportError as error:
            raise DownloadError(str(error)) from error


class Trust:
    """The device's view of the signed metadata.

    Args:
        settings: of the device.
        state: keeps the last director version and the last signed time.
        transport: to the server.
    """

    def __init__(self, settings: Settings, state: StateFile, transport: Transport | CoapTransport) -> None:
        self._settings, self._state, self._transport = settings, state, transport
        self._folder = settings.folder / "tuf"
        self._folder.mkdir(mode=0o700, exist_ok=True)
        self._roots = roots.KeptRoots(self._folder / "root_history")
        self._updater: roots.VerifyingUpdater | None = None

    def assignment(self, device: str, installed: Mapping[str, int] | None = None) -> SignedAssignment | None:
        """Return the assignment of this device, verified against both repositories.

        Args:
            device: its public id.
            installed: component to the security counter of its current image.

        Raises:
            RefusedError: something cannot be trusted; the error says what.
            TransportError: the server cannot be reached.
        """
        updater, signed = self._asked(device, "/v1/director")
        row = self._row(signed)
        if row is None:
            return None
        try:
            target = agreement.find_listed(row["target"], updater.get_targetinfo(row["target"]))  # 5.6.7, 5.7.2
            self._check_bin(row["target"])
            bundle = self._bundle(updater, target)  # 5.7.3
        except (RepositoryError, DownloadError) as error:
            raise _trouble("the signed list of targets", error) from error
        try:
            agreed = agreement.agree_assignment(row, bundle, self._settings)
            agreement.above_floor(agreed, self._targets(), self._settings)
            agreement.check_dependencies(bundle, installed or {})
        except (KeyError, TypeError, ValueError, AttributeError, StopIteration) as error:
            msg = f"the bundle.json of {row['target']} is malformed: {error}"
            raise RefusedError(msg) from error
        return agreed

    def parts(self, data: bytes, action: int, installed: Mapping[str, int]) -> list[SignedAssignment]:
        """Return the parts of a composite, each verified like a single assignment and against the others.

        Args:
            data: ``parts.json``, whose digest the officers signed.
            action: of the composite.
            installed: component to the security counter of its current image.

        Raises:
            RefusedError: a part cannot be trusted; the error says which.
            TransportError: the server cannot be reached.
        """
        updater = self._refreshed()
        try:
            _, named = composite.read_parts(data)
            bundles = [self._part(updater, one) for one in named]
            counters = {**installed, **{one["component"]: one["security_counter"] for one in bundles}}
            paths = [one.path for one in named]
            rows = [agreement.row_of(*pair, action, self._settings) for pair in zip(bundles, paths, strict=True)]
            agreed = [agreement.agree_assignment(*pair, self._settings) for pair in zip(rows, bundles, strict=True)]
            for assignment, bundle in zip(agreed, bundles, strict=True):
                agreement.above_floor(assignment, self._targets(), self._settings)
                agreement.check_dependencies(bundle, counters)
        except (InvalidError, KeyError, TypeError, ValueError, AttributeError, StopIteration) as error:
            msg = f"the list of parts, or a part, is malformed: {error}"
            raise RefusedError(msg) from error
        return agreed

    def _part(self, updater: Updater, part: composite.CompositePart) -> BundleDocument:
        """Return the bundle.json of a part, listed by the officers with the very digest that the composite names."""
        try:
            target = agreement.find_listed(part.path, updater.get_targetinfo(part.path))
            self._check_bin(part.path)
            bundle = self._bundle(updater, target)
        except (RepositoryError, DownloadError) as error:
            raise _trouble("the signed list of targets", error) from error
        if target.hashes.get("sha256") != part.digest:
            msg = f"{part.path} is signed with a digest that differs from the composite"
            raise RefusedError(msg)
        return bundle

    def check(self, device: str) -> None:
        """Verify the current metadata without a pending action. This is how withdrawals and floors arrive.

        Raises:
            RefusedError: something cannot be trusted.
            TransportError: the server cannot be reached.
        """
        self._asked(device, "/v1/director")

    def _bundle(self, updater: Updater, target: TargetFile) -> BundleDocument:
        """Return the bundle.json that officers signed; its length and digest are theirs, also as it is read here.

        5.7.3 compares them in the download; ``verify_length_and_hashes`` repeats it for what the disk returned.
        """
        path = updater.download_target(target, str(self._folder / "bundle.json"), _METADATA)
        data = Path(path).read_bytes()
        target.verify_length_and_hashes(data)
        try:
            # The format, not a promise: those who read it refuse what is missing or of another type.
            return cast("BundleDocument", canonical.loads(data, max_bytes=agreement.MAX_BUNDLE))
        except InvalidError as error:
            msg = f"the bundle.json of {target.path} is malformed: {error.detail}"
            raise RefusedError(msg) from error

    def _refreshed(self) -> Updater:
        """Follow 5.1 to 5.6.6; what the metadata lists is looked up by the caller (5.6.7, 5.7)."""
        bootstrap = self._bootstrap()
        config = UpdaterConfig(
            # python-tuf counts from the factory's root, which it verifies the kept ones from: bound the new ones only.
            max_root_rotations=self._roots.kept_above(bootstrap) + MOST_NEW_ROOTS,
            max_delegations=MOST_ROLES,
            root_max_length=MAX_ROOT,
            timestamp_max_length=MAX_TIMESTAMP,
            snapshot_max_length=MAX_SNAPSHOT,
            targets_max_length=MAX_METADATA,
        )
        self._roots.check_kept(bootstrap)  # 5.2
        try:
            updater = roots.updater_with(self._roots.admit)(  # admits new roots between 5.3.5 and 5.3.8
                str(self._folder),
                _METADATA,
                fetcher=_Fetcher(self._transport),
                config=config,
                bootstrap=bootstrap,
            )
            updater.refresh()  # 5.3 to 5.6.6
        except (RepositoryError, DownloadError, ValueError) as error:
            raise _trouble("the update metadata", error) from error
        self._updater = updater
        self._check_people()  # 5.6
        memory.forget_keys(self._state, _online(self._root()))  # 5.3.11
        self._check_floor(self._kept("timestamp", Timestamp).expires)  # 5.4, freeze attack
        return updater

    def _check_people(self) -> None:
        """Refuse targets that delegate the hash bins to keys other than those of the root's officers (beside 5.6.3)."""
        root, delegations = self._root(), self._targets().delegations
        role, roles = root.roles[Targets.type], delegations.succinct_roles if delegations else None
        known = {keyid: key.to_dict() for keyid, key in delegations.keys.items()} if delegations else {}
        theirs = {keyid: root.keys[keyid].to_dict() for keyid in role.keyids}
        if roles is None or known != theirs or roles.threshold < role.threshold:
            msg = "the signed targets delegate hash bins to keys that are not the release officers'"
            raise RefusedError(msg)

    def _check_bin(self, path: str) -> None:
        """Refuse a hash bin from an earlier bin layout: it could undo a withdrawal (beside 5.6.7).

        The path of a target selects one of the succinct hash bins (TAP 15).
        """
        delegations = self._targets().delegations
        roles = delegations.succinct_roles if delegations else None
        role = roles.get_role_for_target(path) if roles else ""
        if self._kept(role, Targets).unrecognized_fields.get(BIN_FIELD) != role:
            msg = f"the signed list {role} belongs to another hash bin"
            raise RefusedError(msg)

    def _bootstrap(self) -> bytes:
        """Return the root that was shipped with the device (5.2)."""
        return self._settings.tuf_root.read_bytes()

    def commands(self, device: str) -> list[Command]:
        """Return the commands for this device, freshly signed by the director.

        Raises:
            RefusedError: something cannot be trusted.
            TransportError: the server cannot be reached.
        """
        _, signed = self._asked(device, "/v1/command")
        try:
            now = max(clock.now(), datetime.fromisoformat(signed["issued"]))
            waiting = [_command(one) for one in signed.get("commands", [])[:MOST_COMMANDS]]
            return [one for one in waiting if datetime.fromisoformat(one["expires"]) > now]
        except (KeyError, TypeError, ValueError, ArithmeticError) as error:
            msg = f"the director's commands are malformed: {error}"
            raise RefusedError(msg) from error

    def _asked(self, device: str, path: str) -> tuple[Updater, DirectorDocument]:
        """Return the published metadata and the director's document if neither withholds what the other knows."""
        updater = self._refreshed()
        signed = self._document(device, path)
        if self._older(signed):
            # The metadata was renewed between the two requests, or newer metadata is withheld.
            updater = self._refreshed()
        if self._older(signed):
            msg = "newer update metadata is withheld: the director names a newer version"
            raise RefusedError(msg)
        return updater, signed

    def _older(self, signed: DirectorDocument) -> bool:
        """Say whether timestamp or snapshot are older than what the director knows (beside 5.4.3 and 5.5.5)."""
        seen, newest = self._kept("timestamp", Timestamp), signed["newest"]
        return bool(seen.version < newest["timestamp"] or seen.snapshot_meta.version < newest["snapshot"])

    def _document(self, device: str, path: str) -> DirectorDocument:
        """Return what the director has signed for this request."""
        nonce = secrets.token_bytes(16)
        body = b'{"nonce":"' + nonce.hex().encode() + b'"}'
        answer = self._transport.call("POST", path, body, {"Content-Type": "application/json"})
        try:
            signed, keyid = self._verified(canonical.loads(answer.body, max_bytes=MAX_DIRECTOR))
            self._fresh(signed, device, nonce)
            if "head" in signed:
                audit_log_monitor.keep_head(self._state, signed["head"], self._root().unrecognized_fields[LEDGER_FIELD])
            agreement.check_newest(signed["newest"])
            self._row(signed)
        except (InvalidError, KeyError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
            msg = f"the director's document is malformed: {error}"
            raise RefusedError(msg) from error
        memory.learn_facts(self._state, keyid, director_version=signed["version"], signed_time=signed["issued"])
        return signed

    @staticmethod
    def _row(signed: DirectorDocument) -> agreement.DirectorRow | None:
        return agreement.check_entry(signed["assignments"][0]) if signed["assignments"] else None

    def _root(self) -> Root:
        return self._kept("root", Root)

    def _targets(self) -> Targets:
        return self._kept("targets", Targets)

    def _kept(self, role: str, kind: type[_Signed]) -> _Signed:
        """Return a document that the last refresh verified: the one in memory, whatever the disk says by now."""
        verified = self._updater.verified(role) if self._updater is not None else None
        if not isinstance(verified, kind):
            msg = f"this device has verified no {role} metadata"
            raise RefusedError(msg)
        return verified

    # untyped: of any shape: its caller refuses what fails
    def _verified(self, document: Any) -> tuple[DirectorDocument, str]:
        field = self._root().unrecognized_fields[DIRECTOR_FIELD]
        payload = canonical.dumps(document["signed"])
        for signature in document["signatures"]:
            keyid = signature["keyid"]
            if keyid in field["keyids"]:
                public = bytes.fromhex(field["keys"][keyid]["keyval"]["public"])
                try:
                    ed25519.Ed25519PublicKey.from_public_bytes(public).verify(bytes.fromhex(signature["sig"]), payload)
                except InvalidSignature:
                    continue
                return cast("DirectorDocument", dict(document["signed"])), keyid
        msg = "the director's document is not signed by a key in the TUF root"
        raise RefusedError(msg)

    def _fresh(self, signed: DirectorDocument, device: str, nonce: bytes) -> None:
        if signed["_type"] != "director" or signed["device"] != device:
            msg = "the director's document is for another device"
            raise RefusedError(msg)
        if signed["nonce"] != nonce.hex():
            msg = "the director's document is not the answer to this request"
            raise RefusedError(msg)
        if not all(datetime.fromisoformat(signed[name]).tzinfo for name in _TIMES):
            msg = "the director's document has a time without a time zone"
            raise RefusedError(msg)
        if signed["version"] <= (self._state.get("director_version") or 0):
            msg = "the director's document is older than a previous one"
            raise RefusedError(msg)
        self._check_floor(datetime.fromisoformat(signed["expires"]))
        memory.check_bounds(signed, self._kept("timestamp", Timestamp).expires, self._root().expires)

    def _check_floor(self, expires: datetime) -> None:
        """Compare an end with the clock, but never with less than what was signed and seen (5.1)."""
        if not expires.tzinfo or expires <= memory.effective_time(self._state, self._root().expires):
            msg = "a signed document has expired"
            raise RefusedError(msg)


def _trouble(what: str, error: Exception) -> AgentError:
    """Classify a failure: too long data is refused, a failed download is retried."""
    if isinstance(error, DownloadError) and not isinstance(error, DownloadLengthMismatchError):
        return TransportError(str(error))
    return RefusedError(f"{what} cannot be trusted: {error}")


def _online(root: Root) -> set[str]:
    """Return the keys that the root names for what servers sign beside TUF."""
    fields = (root.unrecognized_fields.get(name, {}) for name in (DIRECTOR_FIELD, LEDGER_FIELD))
    return {keyid for field in fields for keyid in field.get("keyids", [])}


def _command(given: Command) -> Command:
    if not _UUID.fullmatch(given["id"]) or not (isinstance(given["kind"], str) and isinstance(given["expires"], str)):
        msg = "a command must have id, kind and expires"
        raise ValueError(msg)
    return given
