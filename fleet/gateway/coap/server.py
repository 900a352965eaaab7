"""Run the CoAP listeners in this process: a DTLS and a TLS socket, one event loop, presence written every second."""

import asyncio
import secrets
import socket
import ssl
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from aiocoap import Context, interfaces
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from OpenSSL import SSL

from fleet.gateway.anchors import trust_only
from fleet.gateway.coap import association
from fleet.gateway.coap.dtls import Given, MessageInterface, ServerSocket
from fleet.gateway.coap.fast import FastPath
from fleet.gateway.coap.listener import CoapListener
from fleet.gateway.coap.plain import PlainBench
from fleet.gateway.coap.tcp import CoapTcpServer
from fleet.gateway.coap.udp import OscoreInterface, OscoreSocket
from fleet.gateway.poll_cache import Answers, PollCache, each_second
from fleet.gateway.poll_cache_sync import Follower
from fleet.wire.connections import LAST_WORD_SECONDS
from pki.kernel.dtls import NO_QUERY_MTU

CIPHERS = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-CCM"
#: mandatory in RFC 7252 and RFC 9148; OpenSSL offers its short tag at the lowest level only
CCM_8 = f"{CIPHERS}:ECDHE-ECDSA-AES128-CCM8:@SECLEVEL=0"
#: of OpenSSL's ssl.h; the flag against TLS 1.0 is the one against DTLS 1.0
COOKIE_EXCHANGE, NO_RENEGOTIATION = 1 << 13, 1 << 30


def dtls_context(key: bytes, chain: list[bytes], anchors: Iterable[bytes], *, ccm_8: bool) -> SSL.Context:
    """Return a DTLS 1.2 context that demands a certificate and verifies chains only.

    Args:
        key: server key, PKCS#8 in PEM.
        chain: server certificate and its CA certificates, DER.
        anchors: certificates in DER that a client's chain may end at.
        ccm_8: offer the short tag as well.
    """
    context = SSL.Context(SSL.DTLS_SERVER_METHOD)
    context.set_options(NO_QUERY_MTU | COOKIE_EXCHANGE | SSL.OP_NO_TLSv1 | NO_RENEGOTIATION)
    context.set_cipher_list((CCM_8 if ccm_8 else CIPHERS).encode())
    context.set_session_id(b"muster-coap")
    context.use_privatekey(serialization.load_pem_private_key(key, None))  # type: ignore[arg-type]  # the signer's keys are EC
    first, *above = (x509.load_der_x509_certificate(der) for der in chain)
    context.use_certificate(first)
    for certificate in above:
        context.add_extra_chain_cert(certificate)
    context.check_privatekey()
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
    set_anchors(context, anchors)
    association.set_cookies(secrets.token_bytes(32), context)
    return context


def set_anchors(context: SSL.Context, anchors: Iterable[bytes]) -> None:
    """Set the trust anchors of a context."""
    store = context.get_cert_store()
    assert store is not None  # noqa: S101  because every context has one; this tells the type checker
    trust_only(store, anchors)


@dataclass(frozen=True, slots=True)
class Sockets:
    """The sockets of the listeners, created before the fork.

    Args:
        datagrams: bound UDP socket, for coaps://.
        dtls: its context.
        stream: listening TCP socket, for coaps+tcp://.
        tls: its context.
        oscore: bound UDP socket for OSCORE, or None.
        bench: plain UDP sockets on loopback, each with the device that it stands for; the benchmark's only.
    """

    datagrams: socket.socket
    dtls: SSL.Context
    stream: socket.socket
    tls: ssl.SSLContext
    oscore: socket.socket | None = None
    bench: tuple[tuple[socket.socket, str], ...] = ()


async def serve_coap(given: Sockets, stopped: asyncio.Event) -> None:
    """Serve coaps:// and coaps+tcp:// until stopped."""
    table, answers = PollCache(), Answers()
    fast = FastPath(table, answers)
    listener = CoapListener(fast)
    protocol = Context(loop=asyncio.get_running_loop(), serversite=listener, loggername="muster.coap")
    follower = _follow(table, listener, await _register_transports(protocol, given, fast, listener))
    for bound, fingerprint in given.bench:
        make = partial(PlainBench, fast, listener.answer, fingerprint)
        await asyncio.get_running_loop().create_datagram_endpoint(make, sock=bound)
    clock = asyncio.create_task(each_second(table, answers, listener.flush))
    try:
        await stopped.wait()
    finally:
        follower.stop()
        clock.cancel()
        with suppress(asyncio.CancelledError):
            await clock
        table.hand_over(answers.size)
        await listener.flush()
        await protocol.shutdown()
        listener.close()


async def _register_transports(protocol: Context, given: Sockets, fast: FastPath, listener: CoapListener) -> "Ends":
    """Register our transports with aiocoap, which has no public way to add them."""
    udp: list[MessageInterface] = []
    tcp: list[CoapTcpServer] = []
    plain: list[OscoreInterface] = []

    async def over_udp(manager: interfaces.MessageManager) -> MessageInterface:
        arguments = Given(given.dtls, fast)
        udp.append(await MessageInterface.start(manager, protocol.log, given.datagrams, arguments))
        return udp[0]

    async def over_tcp(tokens: interfaces.TokenManager) -> CoapTcpServer:
        tcp.append(await CoapTcpServer.start(tokens, protocol.log, given.stream, given.tls))
        return tcp[0]

    async def in_oscore(manager: interfaces.MessageManager) -> OscoreInterface:
        assert given.oscore is not None  # noqa: S101  because it is called with one only; this tells the type checker
        arguments = (given.oscore, fast, listener.in_thread)
        plain.append(await OscoreInterface.start(manager, protocol.log, *arguments))
        return plain[0]

    await protocol._append_tokenmanaged_messagemanaged_transport(over_udp)  # noqa: SLF001  because see above
    await protocol._append_tokenmanaged_transport(over_tcp)  # noqa: SLF001  because see above
    if given.oscore is not None:
        await protocol._append_tokenmanaged_messagemanaged_transport(in_oscore)  # noqa: SLF001  because see above
    return Ends(udp[0].socket, tcp[0], plain[0].socket if plain else None)


@dataclass(frozen=True, slots=True)
class Ends:
    """The connections of devices.

    Args:
        dtls: associations.
        tls: connections.
        oscore: contexts, if that socket is open.
    """

    dtls: ServerSocket
    tls: CoapTcpServer
    oscore: OscoreSocket | None

    def fingerprints(self) -> set[str]:
        """Return the certificates of all connected devices."""
        held = self.oscore.fingerprints() if self.oscore is not None else set()
        return self.dtls.fingerprints() | self.tls.fingerprints() | held

    def cut(self, fingerprints: set[str]) -> None:
        """Close the connections of these certificates."""
        for end in (self.dtls, self.tls, self.oscore):
            if end is not None:
                end.cut(fingerprints)

    def doubt(self, fingerprints: set[str]) -> None:
        """Handle a change of these certificates."""
        if self.oscore is not None:
            self.oscore.doubt(fingerprints)


def _follow(table: PollCache, listener: CoapListener, ends: Ends) -> Follower:
    """Keep the poll cache consistent, notify observers, and disconnect devices without access."""
    loop = asyncio.get_running_loop()

    def cut(fingerprints: set[str]) -> None:
        if fingerprints:
            loop.call_soon_threadsafe(loop.call_later, LAST_WORD_SECONDS, ends.cut, fingerprints)

    def changed(fingerprints: set[str]) -> None:
        loop.call_soon_threadsafe(ends.doubt, fingerprints)
        loop.call_soon_threadsafe(listener.changed, fingerprints)

    follower = Follower(table, ends.fingerprints, cut, changed)
    follower.start()
    return follower
