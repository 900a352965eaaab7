"""TLS of the listeners: contexts that verify certificate chains only, with keys that the signer sends in memory."""

import os
import ssl
from collections.abc import Callable

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from django.conf import settings
from OpenSSL import SSL

from fleet.gateway.anchors import CHAINS_ONLY, certificate_der, client_anchors, pem_text
from fleet.gateway.coap import server as coap
from pki import selectors
from pki.kernel import actor as actors
from pki.models import TrustDomain
from pki.signer.client import Signer


def device_context(signer: Signer, domains: list[TrustDomain], host_names: list[str]) -> ssl.SSLContext:
    """Return the context of the device gateway: client certificates are requested but optional."""
    context = _context(signer, domains[0], host_names)
    context.verify_mode = ssl.CERT_OPTIONAL
    context.num_tickets = 1  # a device has one connection at a time, and each ticket slows the handshake
    context.verify_flags |= ssl.VerifyFlags(CHAINS_ONLY)
    add_anchors(context, [domain.slug for domain in domains])
    return context


def add_anchors(context: ssl.SSLContext, slugs: list[str]) -> None:
    """Make a context accept chains of our own CAs, and of vendors whose devices may enrol.

    A valid chain alone grants nothing: the listener checks for each request what its trust anchor permits.
    """
    if anchors := client_anchors(slugs):
        context.load_verify_locations(cadata=pem_text(anchors))


def keep_anchors(context: ssl.SSLContext) -> Callable[[], None]:
    """Return a function that loads new trust anchors (own CAs and vendors) into a context without a restart.

    A removed anchor stays in the context; the listener rejects its certificates on each request.
    """
    known: set[bytes] = set()

    def refresh() -> None:
        slugs = [domain.slug for domain in selectors.list_domains()]
        ders = set(client_anchors(slugs))
        if not ders <= known:
            add_anchors(context, slugs)
            known.update(ders)

    return refresh


def coap_context(signer: Signer, domains: list[TrustDomain], host_names: list[str]) -> SSL.Context:
    """Return the context of the CoAP listener: client certificates are required, and only chains are verified."""
    domain = domains[0]
    key, certificate, chain = signer.server_identity(domain.slug, host_names)
    links = [certificate_der(link) for link in selectors.root_links(actor=actors.system_actor(domain.slug, "tls"))]
    anchors = client_anchors([one.slug for one in domains])
    return coap.dtls_context(key, [certificate, *chain, *links], anchors, ccm_8=settings.FLEET_COAP_CCM_8)


def coap_stream_context(signer: Signer, domains: list[TrustDomain], host_names: list[str]) -> ssl.SSLContext:
    """Return the context of coaps+tcp://: like the device gateway's, but client certificates are required."""
    context = device_context(signer, domains, host_names)
    context.verify_mode = ssl.CERT_REQUIRED
    context.set_alpn_protocols(["coap"])
    return context


def keep_coap_anchors(sockets: coap.Sockets) -> Callable[[], None]:
    """Return a function that loads new trust anchors into the active contexts of a CoAP listener."""
    context, stream = sockets.dtls, keep_anchors(sockets.tls)
    known = set(client_anchors([domain.slug for domain in selectors.list_domains()]))

    def refresh() -> None:
        ders = set(client_anchors([domain.slug for domain in selectors.list_domains()]))
        coap.set_anchors(context, ders - known)
        known.update(ders)
        stream()

    return refresh


def operator_context(signer: Signer, domain: TrustDomain, host_names: list[str]) -> ssl.SSLContext:
    """Return the context of the operator server: it requests no certificate, so that browsers do not prompt."""
    return _context(signer, domain, host_names)


def _context(signer: Signer, domain: TrustDomain, host_names: list[str]) -> ssl.SSLContext:
    key, certificate, chain = signer.server_identity(domain.slug, host_names)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    parts = [_pem(x509.load_der_x509_certificate(der)).encode() for der in (certificate, *chain)]
    parts += [_pem(link).encode() for link in selectors.root_links(actor=actors.system_actor(domain.slug, "tls"))]
    descriptor = os.memfd_create("door", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, b"".join([key, *parts]))
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
    return context


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()
