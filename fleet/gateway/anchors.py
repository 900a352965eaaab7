"""Trust anchors of device certificates, for TLS handshakes and for certificates that a proxy forwards."""

import ssl
from collections.abc import Iterable

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from OpenSSL import crypto

from devices import selectors as devices
from pki import selectors
from pki.kernel import actor as actors

#: X509_V_FLAG_NO_CHECK_TIME: otherwise devices with expired certificates could not renew them. And
#: X509_V_FLAG_PARTIAL_CHAIN: a vendor's intermediate CA may be the anchor. Each request checks everything else.
CHAINS_ONLY = 0x200000 | 0x80000


def client_anchors(slugs: list[str]) -> list[bytes]:
    """Return the trust anchors in DER: our own CAs and those of vendors."""
    askers = [actors.system_actor(slug, "client-anchors") for slug in slugs]
    own = [certificate_der(anchor) for asker in askers for anchor in selectors.trust_anchors(actor=asker)]
    return list(dict.fromkeys([*own, *(one for asker in askers for one in devices.vendor_anchors(actor=asker))]))


def certificate_der(certificate: x509.Certificate) -> bytes:
    """Return a certificate in DER."""
    return certificate.public_bytes(serialization.Encoding.DER)


def pem_text(ders: list[bytes]) -> str:
    """Return certificates as one PEM text."""
    return "".join(map(ssl.DER_cert_to_PEM_cert, ders))


def trust_only(store: crypto.X509Store, ders: Iterable[bytes]) -> crypto.X509Store:
    """Configure an OpenSSL store to verify only that chains end at these certificates."""
    store.set_flags(CHAINS_ONLY)
    for der in ders:
        store.add_cert(crypto.load_certificate(crypto.FILETYPE_ASN1, der))
    return store
