"""What a device's chain may end at, for handshakes of our own and for certificates that a proxy hands on."""

import ssl

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from devices import selectors as devices
from pki import selectors


def client_anchors(slugs: list[str]) -> list[bytes]:
    """Return what a device's chain may end at, in DER: our own CAs and vendors'."""
    own = [der(anchor) for slug in slugs for anchor in selectors.anchors(slug)]
    return list(dict.fromkeys([*own, *(one for slug in slugs for one in devices.vendor_anchors(slug))]))


def der(certificate: x509.Certificate) -> bytes:
    """Return a certificate in DER."""
    return certificate.public_bytes(serialization.Encoding.DER)


def pem(ders: list[bytes]) -> str:
    """Return certificates as one PEM text."""
    return "".join(map(ssl.DER_cert_to_PEM_cert, ders))
