"""TLS of both doors: contexts that verify chains only, keys that come from the signer through memory."""

import os
import ssl

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from pki import selectors
from pki.models import TrustDomain
from pki.signer.client import Signer

#: X509_V_FLAG_NO_CHECK_TIME: a context with a clock would lock out devices that come to renew
NO_CHECK_TIME = 0x200000


def device_context(signer: Signer, domains: list[TrustDomain], host_names: list[str]) -> ssl.SSLContext:
    """Return the context of the device door: client certificates are asked for, not demanded."""
    context = _context(signer, domains[0], host_names)
    context.verify_mode = ssl.CERT_OPTIONAL
    context.verify_flags |= ssl.VerifyFlags(NO_CHECK_TIME)
    anchors = [anchor for domain in domains for anchor in selectors.anchors(domain.slug)]
    context.load_verify_locations(cadata="".join(_pem(anchor) for anchor in anchors))
    return context


def operator_context(signer: Signer, domain: TrustDomain, host_names: list[str]) -> ssl.SSLContext:
    """Return the context of the operator door: it asks for no certificate, so that browsers do not prompt."""
    return _context(signer, domain, host_names)


def _context(signer: Signer, domain: TrustDomain, host_names: list[str]) -> ssl.SSLContext:
    key, certificate, chain = signer.door_identity(domain.slug, host_names)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    parts = [_pem(x509.load_der_x509_certificate(der)).encode() for der in (certificate, *chain)]
    descriptor = os.memfd_create("door", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, b"".join([key, *parts]))
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
    return context


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()
