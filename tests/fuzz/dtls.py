"""Datagrams to the DTLS server: before the cookie, in the handshake, and inside an association that is open."""

import secrets
from contextlib import suppress
from datetime import timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from OpenSSL import SSL

from fleet.gateway.coap import server
from fleet.gateway.coap.association import Association, HandshakeState
from fleet.management.benches import listeners_storm
from pki.kernel import clock
from pki.kernel.dtls import CIPHERTEXT_MTU, NO_QUERY_MTU, split_records


def _identity():
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fuzz")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(clock.now() - timedelta(days=1))
    return key, builder.not_valid_after(clock.now() + timedelta(days=9)).sign(key, hashes.SHA256())


def _client(key, leaf):
    context = SSL.Context(SSL.DTLS_CLIENT_METHOD)
    context.set_options(NO_QUERY_MTU)
    context.use_privatekey(key)
    context.use_certificate(leaf)
    return context


def _shaken(made, context):
    """Let a client of ours finish its handshake; return it."""
    line = SSL.Connection(context, None)
    line.set_connect_state()
    line.set_ciphertext_mtu(CIPHERTEXT_MTU)
    for _ in range(6):
        with suppress(SSL.WantReadError):
            line.do_handshake()
        with suppress(SSL.WantReadError):
            for record in split_records(line.bio_read(65536)):
                made.receive(record)
        for record in made.outgoing():
            line.bio_write(record)
    assert made.state is HandshakeState.OPEN
    return line


def _pieces(data):
    """Yield what follows, piece by piece, each with its length before it."""
    place = 0
    while place + 2 <= len(data):
        size = int.from_bytes(data[place : place + 2], "big") % 1500
        yield data[place + 2 : place + 2 + size]
        place += 2 + size


def target():
    """Return what takes one input: one byte says how far the peer got, the rest are datagrams."""
    key, leaf = _identity()
    der, none = leaf.public_bytes(serialization.Encoding.DER), serialization.NoEncryption()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, none)
    context, there = server.dtls_context(pem, [der], [der], ccm_8=True), _client(key, leaf)
    first = listeners_storm.first_hello()

    def run(data):
        made, line = Association(context, secrets.token_bytes(4)), None
        if data[:1] == b"\xff":
            line = _shaken(made, there)
        elif data[:1] > b"\x80":
            made.receive(first)
            list(made.outgoing())
        for piece in _pieces(data[1:]):
            if line is not None and piece[:1] > b"\x40":  # said by the peer itself, encrypted
                line.send(piece)
                made.receive(line.bio_read(65536))
            else:
                made.receive(piece)
            list(made.outgoing())
            if made.state is HandshakeState.CLOSED:
                break
            made.timeout()
        made.close()

    return run
