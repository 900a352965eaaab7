"""The device protocol over OSCORE (RFC 8613): one datagram each way without a handshake, for sleepy devices.

aiocoap implements the cryptography. This module persists the context and ensures that no sequence number is used twice:
numbers are reserved on the disk in blocks, so that a crash can only skip some. A context belongs to a certificate; the
server issues a new one over a connection that presents this certificate.
"""

import fcntl
import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from aiocoap import Message, oscore
from aiocoap.message import Direction
from aiocoap.numbers import codes

from fleet.agent.coap import CoapTransport
from fleet.agent.dtls import ClientAssociation
from fleet.agent.errors import RefusedError, TransportError
from fleet.agent.transport import Transport
from fleet.agent.udp import ServerDatagrams
from pki.kernel import cbor, files, intake
from pki.kernel.errors import InvalidError

#: sequence numbers that are reserved at once
AHEAD = 64
#: requests whose answers can still be opened: the last ones, and what is observed
MOST_OPEN = 8
MAX_CONTEXT = 512
#: of what a server gives: least and most bytes; 7 is what AES-CCM-16-64-128 leaves for a Sender ID
_SECRETS = {"ms": (16, 64), "salt": (0, 64), "client_id": (1, 7)}
_CBOR = {"Content-Type": "application/cbor"}


@dataclass(frozen=True, slots=True)
class ContextMaterial:
    """What a server gives for a context.

    Args:
        port: its UDP port for OSCORE.
        secret: Master Secret.
        salt: Master Salt.
        kid: Sender ID of the device.
    """

    port: int
    secret: bytes
    salt: bytes
    kid: bytes


class Context(oscore.CanProtect, oscore.CanUnprotect, oscore.SecurityContextUtils):  # type: ignore[misc]  # aiocoap has no types
    """The device's side of a context, in memory.

    Args:
        secret: Master Secret.
        salt: Master Salt.
        kid: Sender ID of the device; the server's is empty.
        number: Sender Sequence Number to begin with.
    """

    alg_aead = oscore.algorithms["AES-CCM-16-64-128"]
    hashfun = oscore.hashfunctions["sha256"]
    id_context = echo_recovery = None

    def __init__(self, secret: bytes, salt: bytes, kid: bytes, number: int = 0) -> None:
        self.sender_id, self.recipient_id = kid, b""
        self.sender_sequence_number = number
        self.derive_keys(salt, secret)
        self.recipient_replay_window = oscore.ReplayWindow(32, lambda: None)
        self.recipient_replay_window.initialize_empty()

    def post_seqnoincrease(self) -> None:
        """Do nothing: the owner of this context reserves the numbers."""


class StoredContext(Context):
    """A context in a file of the device's disk.

    Args:
        path: of the file.
        facts: what is in it: ``ms, salt, client_id`` in hex, ``port``, ``certificate`` (SHA-256 of the chain) and
            ``next``, the first number that may be used after a restart.
    """

    def __init__(self, path: Path, facts: Mapping[str, Any]) -> None:  # untyped: its maker refuses what is malformed
        secret, salt, kid = (bytes.fromhex(facts[name]) for name in _SECRETS)
        super().__init__(secret, salt, kid, int(facts["next"]))
        self._path, self.port, self._end = path, int(facts["port"]), int(facts["next"])

    def new_sequence_number(self) -> int:
        """Return an unused sequence number. It is reserved on the disk first.

        Raises:
            OSError: the reservation cannot be written.
        """
        if self.sender_sequence_number >= self._end:
            self._reserve()
        return int(super().new_sequence_number())

    def _reserve(self) -> None:
        """Reserve the next numbers for this process; another process on the same disk reserves others."""
        with self._path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            facts = json.loads(self._path.read_text())
            if facts["client_id"] != self.sender_id.hex():
                msg = "another process of this device has a newer OSCORE context"
                raise TransportError(msg)
            first = max(self.sender_sequence_number, int(facts["next"]))
            files.write_private(self._path, json.dumps({**facts, "next": first + AHEAD}).encode())
        self.sender_sequence_number, self._end = first, first + AHEAD


class UnusableError(TransportError):
    """The context is no longer usable."""


class Session:
    """Protect messages and unprotect their answers. The caller owns the socket.

    Args:
        context: the shared context.
    """

    def __init__(self, context: Context) -> None:
        self.context = context
        self._asked: OrderedDict[bytes, oscore.RequestIdentifiers] = OrderedDict()
        self._heard: dict[bytes, int] = {}
        self._last = (b"", b"")

    def protected(self, message: bytes) -> bytes:
        """Return the datagram for a message; the same one again is the same datagram again (RFC 8613, 8.1)."""
        plain = Message.decode(message)
        if plain.code == codes.EMPTY:
            return message
        if message != self._last[0]:
            self._last = message, self._protected(plain)
        return self._last[1]

    def _protected(self, plain: Message) -> bytes:
        plain.direction = Direction.OUTGOING
        outer, request_id = self.context.protect(plain)
        outer.mtype, outer.mid, outer.token = plain.mtype, plain.mid, plain.token
        self._asked[bytes(plain.token)] = request_id
        self._heard.pop(bytes(plain.token), None)
        while len(self._asked) > MOST_OPEN:
            oldest = next(iter(self._asked))
            gone = next((one for one in self._asked if one not in self._heard), oldest)  # what is observed stays
            del self._asked[gone]
            self._heard.pop(gone, None)
        return bytes(outer.encode())

    def opened(self, data: bytes) -> bytes | None:
        """Return what a datagram says, as it would be unprotected; None for what is not meant for us.

        Raises:
            UnusableError: the server reports that it cannot decrypt our messages.
        """
        try:
            outer = Message.decode(data)
            if outer.code == codes.EMPTY:
                return data
            token = bytes(outer.token)
            if not outer.code.is_response() or token not in self._asked:
                return None
            if outer.opt.oscore is None:
                return self._refused(outer)
            inner, _ = self.context.unprotect(outer, self._asked[token])
            if not self._is_newer(token, inner):
                return None
            inner.mtype, inner.mid, inner.token = outer.mtype, outer.mid, outer.token
            inner.direction = Direction.OUTGOING  # else aiocoap does not write it
            return bytes(inner.encode())
        except UnusableError:
            raise
        except Exception:  # noqa: BLE001  because aiocoap's reader falls over what strangers send in more than one way
            return None

    def _is_newer(self, token: bytes, inner: Message) -> bool:
        """Refuse a replayed notification (RFC 8613, 7.4.1)."""
        number = inner.opt.observe
        if number is None:
            return True
        inner.opt.observe = max(number, 0) & 0xFFFFFF
        if number <= self._heard.get(token, -2):
            return False
        self._heard[token] = number
        return True

    def _refused(self, outer: Message) -> bytes | None:
        """Raise for an unprotected error of the server: it does not have our context.

        An attacker on the network can forge it. The device then requests a new context over TLS, and loses only time.
        """
        if outer.code.is_successful():
            return None
        msg = f"the server rejected this OSCORE context: {outer.code}"
        raise UnusableError(msg)


class Wire:
    """A UDP socket with OSCORE protection; same API as a DTLS association.

    Args:
        address: host name and port of the server.
        context: the shared context.
    """

    def __init__(self, address: tuple[str, int], context: Context) -> None:
        self._socket, self.session = ServerDatagrams(*address), Session(context)

    def send(self, message: bytes) -> None:
        """Send one message."""
        self._socket.send(self.session.protected(message))

    def receive(self, until: float) -> bytes | None:
        """Return the next message, or None after the deadline (monotonic seconds).

        Raises:
            UnusableError: the server reports that it cannot decrypt our messages.
        """
        while (data := self._socket.receive(until)) is not None:
            if (opened := self.session.opened(data)) is not None:
                return opened
        return None

    def close(self) -> None:
        """Close the socket; the context stays."""
        self._socket.close()


class OscoreTransport(CoapTransport):
    """CoAP with OSCORE to the server. A missing or unusable context is fetched over a connection with the certificate.

    Args:
        server: address of that connection; the OSCORE port is part of the context.
        identity: certificate chain and key files; the context belongs to the certificate.
        folder: the device's disk.
        shown: opens that connection.
    """

    def __init__(
        self, server: str, identity: tuple[Path, Path], folder: Path, shown: Callable[[], Transport | CoapTransport]
    ) -> None:
        super().__init__(server, folder, identity)
        self._path, self._shown = folder / "oscore.json", shown

    def _open(self) -> ClientAssociation:
        if self._line is None:
            context = self._kept() or self._provisioned()
            self._line = cast("ClientAssociation", Wire((self._address[0], context.port), context))  # same API
        return self._line

    def _exchange(self, message: Message) -> Message:
        """Send a request. Repeat it with a new context if the server rejects the current one."""
        try:
            return super()._exchange(message)
        except UnusableError:
            return super()._exchange(message)

    def _answered(self, line: ClientAssociation, message: Message) -> Message:
        """Return the answer. Forget a context that the server rejects."""
        try:
            return super()._answered(line, message)
        except UnusableError:
            self._path.unlink(missing_ok=True)
            raise

    def _kept(self) -> StoredContext | None:
        """Return the stored context if it belongs to the current certificate."""
        try:
            facts = json.loads(self._path.read_text())
            return StoredContext(self._path, facts) if facts["certificate"] == self._certificate() else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _provisioned(self) -> StoredContext:
        line = self._shown()
        try:
            answer = line.call("POST", "/v1/oscore", b"\xa0", {**_CBOR, "Accept": "application/cbor"})
        finally:
            line.close()
        try:
            given = read_material(answer.body)
            secrets = zip(_SECRETS, (given.secret, given.salt, given.kid), strict=True)
            facts = {"port": given.port, "certificate": self._certificate(), "next": 0}
            facts |= {name: secret.hex() for name, secret in secrets}
            context = StoredContext(self._path, facts)
        except (InvalidError, KeyError, TypeError, ValueError) as error:
            msg = "the server's OSCORE context is malformed"
            raise RefusedError(msg) from error
        files.write_private(self._path, json.dumps(facts).encode())
        return context

    def _certificate(self) -> str:
        return hashlib.sha256(self._identity[0].read_bytes()).hexdigest()


def read_material(data: bytes) -> ContextMaterial:
    """Return what a server gives for a context.

    Raises:
        InvalidError, KeyError, ValueError: it is malformed.
    """
    given = intake.map_of(cbor.loads(data, max_bytes=MAX_CONTEXT), "context")
    secrets: list[bytes] = []
    for name, (least, most) in _SECRETS.items():
        secret = given[name]
        if not isinstance(secret, bytes) or not least <= len(secret) <= most:
            raise ValueError(name)
        secrets.append(secret)
    port = given["port"]
    if not isinstance(port, int) or not 0 < port < 1 << 16:
        raise ValueError("port")
    return ContextMaterial(port, *secrets)
