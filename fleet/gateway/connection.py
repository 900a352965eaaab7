"""One HTTPS connection of a device: its peer, and cached polls, which need no task and no thread."""

import asyncio
import hashlib

from django.conf import settings

from devices.services import presence
from fleet.gateway import codec
from fleet.gateway.poll_cache import Answers, PollCache
from fleet.gateway.poll_matcher import DEVICE_POLLS
from fleet.wire.connections import Connections as Base
from fleet.wire.http1 import BoundedConnection, make_protocol


class DeviceConnections(Base):
    """The shared state of the device gateway's connections."""

    def __init__(self, table: PollCache, answers: Answers) -> None:
        super().__init__(settings.FLEET_CONNECTIONS_A_DEVICE, by_network=not settings.FLEET_PROXIES)
        self.table, self.answers = table, answers


class DeviceConnection(BoundedConnection):
    """A connection with its peer."""

    shared: DeviceConnections

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in the base class: a stream
        """Read the leaf certificate after the handshake."""
        tls = transport.get_extra_info("ssl_object")
        der = (tls.getpeercert(binary_form=True) if tls else None) or b""
        old = tls is not None and tls.version() == "TLSv1.2"
        digest = hashlib.sha256(der)
        self.fingerprint = digest.hexdigest() if der else ""
        self._key = digest.digest() if der else b""
        self._peer: dict[object, object] = {
            "certificate": der,
            "fingerprint": self.fingerprint,
            "binding": (tls.get_channel_binding("tls-unique") if old else None) or b"",
        }
        self._known, self._host, self._form = b"", "", codec.CBOR
        resumed = tls is not None and tls.session_reused
        presence.note_peer(self.fingerprint, "tls_resumptions" if resumed else "tls_handshakes")
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Answer an idle poll at once; pass everything else to the parser."""
        if self._between and self._key and (data == self._known or self._is_poll(data)):
            device = self.shared.table.idle(self._key, self._host)
            if self.flow.write_paused:  # it sends requests but reads no answers
                self.transport.abort()
                return
            if device and not self.transport.is_closing():
                self.shared.table.count(device, self.address)
                self._asked = True
                self._heard = self.loop.time()
                self.transport.write(self.shared.answers.next_http(self._form))
                return
        super().data_received(data)

    def on_message_begin(self) -> None:
        """Add the peer to the scope of each request."""
        super().on_message_begin()
        self.scope["extensions"]["muster.peer"] = dict(self._peer)

    def _is_poll(self, data: bytes) -> bool:
        """Return whether the data is exactly one poll. Cache it, so that the next identical one needs no parsing."""
        poll = DEVICE_POLLS.match_poll(data)
        if poll is None:
            return False
        (self._host, self._form), self._known = poll, data
        return True


def make_device_protocol(shared: DeviceConnections) -> type[asyncio.Protocol]:
    """Return the protocol class of one gateway process."""
    return make_protocol(shared, DeviceConnection)


__all__ = ["DeviceConnection", "DeviceConnections", "make_device_protocol"]
