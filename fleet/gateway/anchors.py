"""What a device's chain may end at, for handshakes of our own and for certificates that a proxy hands on."""

import ssl
from collections.abc import Iterable

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from OpenSSL import crypto

from devices import selectors as devices
from pki import selectors
from pki.kernel import actor as actors

#: X509_V_FLAG_NO_CHECK_TIME: with a clock, devices that come to renew would be locked out; and
#: X509_V_FLAG_PARTIAL_CHAIN: a vendor's intermediate may be the anchor. Chains only; each request asks for the rest.
CHAINS_ONLY = 0x200000 | 0x80000


def client_anchors(slugs: list[str]) -> list[bytes]:
    """Return what a device's chain may end at, in DER: our own CAs and vendors'."""
    askers = [actors.system(slug, "client-anchors") for slug in slugs]
    own = [der(anchor) for asker in askers for anchor in selectors.anchors(actor=asker)]
    return list(dict.fromkeys([*own, *(one for asker in askers for one in devices.vendor_anchors(actor=asker))]))


def der(certificate: x509.Certificate) -> bytes:
    """Return a certificate in DER."""
    return certificate.public_bytes(serialization.Encoding.DER)


def pem(ders: list[bytes]) -> str:
    """Return certificates as one PEM text."""
    return "".join(map(ssl.DER_cert_to_PEM_cert, ders))


def believe(store: crypto.X509Store, ders: Iterable[bytes]) -> crypto.X509Store:
    """Let a store of OpenSSL's believe chains that end at these certificates, and look at nothing but chains."""
    store.set_flags(CHAINS_ONLY)
    for one in ders:
        store.add_cert(crypto.load_certificate(crypto.FILETYPE_ASN1, one))
    return store
