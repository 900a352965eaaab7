"""Believe nothing: TUF metadata, the director's document, and that both say the same."""

import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ed25519
from tuf.api.exceptions import DownloadError, DownloadHTTPError, RepositoryError
from tuf.api.metadata import Metadata, Root, TargetFile, Timestamp
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

from fleet.agent import witness
from fleet.agent.coap import CoapTransport
from fleet.agent.errors import AnswerError, RefusedError, TransportError
from fleet.agent.state import Settings, State
from fleet.agent.transport import Transport
from pki.kernel import canonical, clock
from pki.kernel.errors import InvalidError

MAX_DIRECTOR = 16 * 1024
MAX_METADATA = 512 * 1024
DIRECTOR_FIELD = "x-muster-director"
MOST_COMMANDS = 10
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Assignment:
    """What this device shall install, as director and repository both say it."""

    action: int
    kind: str
    component: str
    path: str
    length: int
    sha256: str
    counter: int
    version: str


class _Fetcher(FetcherInterface):
    """Fetch metadata over the device's own connection."""

    def __init__(self, transport: Transport | CoapTransport) -> None:
        super().__init__()
        self._transport = transport

    def _fetch(self, url: str) -> Iterator[bytes]:
        try:
            for _, chunk in self._transport.stream(url, MAX_METADATA):
                yield chunk
        except AnswerError as error:
            raise DownloadHTTPError(str(error), error.status) from error
        except TransportError as error:
            raise DownloadError(str(error)) from error


class Trust:
    """The device's view of what is signed.

    Args:
        settings: of the device.
        state: keeps the last director version and the last signed time.
        transport: to the server.
    """

    def __init__(self, settings: Settings, state: State, transport: Transport | CoapTransport) -> None:
        self._settings, self._state, self._transport = settings, state, transport
        self._folder = settings.folder / "tuf"
        self._folder.mkdir(mode=0o700, exist_ok=True)

    def assignment(self, device: str) -> Assignment | None:
        """Return what this device shall install now, checked against both repositories.

        Args:
            device: its public id.

        Raises:
            RefusedError: something is not to be believed; the sentence says what.
            TransportError: the server cannot be reached.
        """
        updater = self._refreshed()
        row = self._director(device)
        if row is None:
            return None
        try:
            target = updater.get_targetinfo(row["target"])
        except (RepositoryError, DownloadError) as error:
            msg = f"the signed list of targets is not to be believed: {error}"
            raise RefusedError(msg) from error
        self._agree(row, target)
        names = ("action", "kind", "component", "length", "sha256", "counter", "version")
        return Assignment(path=row["target"], **{name: row[name] for name in names})

    def _refreshed(self) -> Updater:
        config = UpdaterConfig(
            max_root_rotations=64,
            max_delegations=8,
            root_max_length=128 * 1024,
            timestamp_max_length=16 * 1024,
            snapshot_max_length=256 * 1024,
            targets_max_length=MAX_METADATA,
        )
        try:
            updater = Updater(
                str(self._folder),
                "/v1/metadata/",
                fetcher=_Fetcher(self._transport),
                config=config,
                bootstrap=self._bootstrap(),
            )
            updater.refresh()
        except DownloadError as error:
            raise TransportError(str(error)) from error
        except (RepositoryError, ValueError) as error:
            msg = f"the update metadata is not to be believed: {error}"
            raise RefusedError(msg) from error
        self._check_floor(Metadata[Timestamp].from_file(str(self._folder / "timestamp.json")).signed.expires)
        return updater

    def _bootstrap(self) -> bytes:
        return self._settings.tuf_root.read_bytes()

    def commands(self, device: str) -> list[dict[str, Any]]:
        """Return the commands for this device, as the director has signed them just now.

        Raises:
            RefusedError: something is not to be believed.
            TransportError: the server cannot be reached.
        """
        self._refreshed()
        signed, _ = self._document(device, "/v1/command")
        try:
            now = max(clock.now(), datetime.fromisoformat(signed["issued"]))
            waiting = [_command(one) for one in signed.get("commands", [])[:MOST_COMMANDS]]
            return [one for one in waiting if datetime.fromisoformat(one["expires"]) > now]
        except (KeyError, TypeError, ValueError) as error:
            msg = f"the director's commands are malformed: {error}"
            raise RefusedError(msg) from error

    def _director(self, device: str) -> dict[str, Any] | None:
        return self._document(device, "/v1/director")[1]

    def _document(self, device: str, path: str) -> tuple[dict[str, Any], dict[str, Any] | None]:
        """Return the director's document, and the checked row of its first assignment."""
        nonce = secrets.token_bytes(16)
        body = b'{"nonce":"' + nonce.hex().encode() + b'"}'
        answer = self._transport.call("POST", path, body, {"Content-Type": "application/json"})
        try:
            document = canonical.loads(answer.body, max_bytes=MAX_DIRECTOR)
            signed = self._verified(document)
            self._fresh(signed, device, nonce)
            if "head" in signed:
                witness.see(self._state, signed["head"], self._root().unrecognized_fields[witness.LEDGER_FIELD])
            row = _row(signed["assignments"][0]) if signed["assignments"] else None
        except (InvalidError, KeyError, TypeError, ValueError) as error:
            msg = f"the director's document is malformed: {error}"
            raise RefusedError(msg) from error
        self._state.put(director_version=signed["version"], signed_time=signed["issued"])
        return signed, row

    def _root(self) -> Root:
        return Metadata[Root].from_file(str(self._folder / "root.json")).signed

    def _verified(self, document: Any) -> dict[str, Any]:
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
                return dict(document["signed"])
        msg = "the director's document is not signed by the key that the root names"
        raise RefusedError(msg)

    def _fresh(self, signed: dict[str, Any], device: str, nonce: bytes) -> None:
        if signed["_type"] != "director" or signed["device"] != device:
            msg = "the director's document is for another device"
            raise RefusedError(msg)
        if signed["nonce"] != nonce.hex():
            msg = "the director's document is not the answer to this request"
            raise RefusedError(msg)
        if signed["version"] <= self._state.get("director_version", 0):
            msg = "the director's document is older than one seen before"
            raise RefusedError(msg)
        self._check_floor(datetime.fromisoformat(signed["expires"]))

    def _check_floor(self, expires: datetime) -> None:
        """Compare an end with the clock, but never with less than the last signed time that was seen."""
        floor = self._state.get("signed_time")
        now = clock.now()
        if floor:
            now = max(now, datetime.fromisoformat(floor))
        if expires.astimezone(UTC) <= now:
            msg = "a signed document has expired"
            raise RefusedError(msg)

    def _agree(self, row: dict[str, Any], target: TargetFile | None) -> None:
        if target is None:
            msg = f"{row['target']} was never signed by the release officers"
            raise RefusedError(msg)
        if target.length != row["length"] or target.hashes.get("sha256") != row["sha256"]:
            msg = f"director and signed targets differ about {row['target']}"
            raise RefusedError(msg)
        custom = target.custom or {}
        if self._settings.hw_class not in custom.get("hw", []) or row["hw"] != self._settings.hw_class:
            msg = f"{row['target']} is for other hardware than this device"
            raise RefusedError(msg)
        if self._settings.audience not in (custom.get("audience") or []):
            msg = f"{row['target']} is not signed for {self._settings.audience}"
            raise RefusedError(msg)
        if custom.get("component") != row["component"] or custom.get("counter") != row["counter"]:
            msg = f"{row['target']} is signed for another component or counter"
            raise RefusedError(msg)


def _command(given: Any) -> dict[str, Any]:
    if not _UUID.fullmatch(given["id"]) or not all(isinstance(given[name], str) for name in ("kind", "expires")):
        msg = "a command has id, kind and expires"
        raise ValueError(msg)
    return dict(given)


def _row(row: Any) -> dict[str, Any]:
    kinds = {"action": int, "kind": str, "component": str, "target": str, "length": int, "sha256": str}
    kinds |= {"hw": str, "counter": int, "version": str}
    for name, kind in kinds.items():
        if not isinstance(row[name], kind):
            msg = f"`{name}` has the wrong type"
            raise TypeError(msg)
    if not _DIGEST.fullmatch(row["sha256"]) or not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,59}", row["component"]):
        msg = "digest or component is malformed"
        raise ValueError(msg)
    return dict(row)
