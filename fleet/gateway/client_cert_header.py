"""Client certificates that a proxy forwards (RFC 9440): accepted from listed proxies only, and verified again.

Any client can send this header field. It counts only on a connection from an address that the operator has listed.
From any other client it is refused rather than ignored, because the client attempts to impersonate a device.
"""

import base64
import binascii
import hashlib
import logging
import re
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from urllib.parse import unquote

from OpenSSL import crypto

from fleet.gateway.anchors import client_anchors, trust_only
from fleet.gateway.protocol import TransportPeer
from pki import selectors
from pki.foreign import read_certificate
from pki.kernel.errors import DeniedError, InvalidError
from pki.kernel.pem import read_der
from pki.kernel.recent import Recent

FIELD = b"client-cert"
#: variants of the name that a misconfigured proxy or an attacker may send
LOOKALIKES = frozenset(
    {b"client_cert", b"x-client-cert", b"x-ssl-client-cert", b"ssl-client-cert", b"client-cert-chain"}
)
LONGEST = 8192
#: rfc9440 is ``:BASE64 of DER:``, haproxy the same without colons, nginx a percent-encoded PEM
FORMS = ("rfc9440", "haproxy", "nginx")
_RFC9440 = re.compile(r":([A-Za-z0-9+/=]+):")
_logger = logging.getLogger("muster.access")


class Proxies:
    """The trusted proxies of a listener.

    Args:
        listed: addresses or networks; empty to trust no proxy.
        form: one of ``FORMS``.

    Raises:
        InvalidError: an address or the form is malformed.
    """

    def __init__(self, listed: Iterable[str], form: str) -> None:
        try:
            self._listed: list[IPv4Network | IPv6Network] = [ip_network(network, strict=False) for network in listed]
        except ValueError as error:
            msg = f"FLEET_PROXIES must be a comma-separated list of addresses and networks: {error}."
            raise InvalidError(msg) from error
        if form not in FORMS:
            msg = f"FLEET_PROXY_FORM must be one of {', '.join(FORMS)}."
            raise InvalidError(msg)
        self._form = form
        self._store: Recent[str, crypto.X509Store] = Recent(seconds=2.0)

    def peer(self, fields: Iterable[tuple[bytes, bytes]], direct: TransportPeer) -> TransportPeer:
        """Return the peer of a request: the direct peer, or the one whose certificate a listed proxy forwards.

        Raises:
            DeniedError: the field is not from a listed proxy, is not the only certificate, or has an unknown issuer.
            InvalidError: the field is repeated, too long, or not a certificate.
        """
        given = [value for name, value in fields if name == FIELD]
        odd = [name for name, _ in fields if name in LOOKALIKES]
        if not given and not odd:
            return direct
        if odd or direct.fingerprint or not self._lists(direct.address):
            _logger.warning("a client certificate in a header field is refused", extra={"peer": direct.address[:64]})
            msg = "A client certificate in a header field is accepted from listed proxies only (FLEET_PROXIES)."
            raise DeniedError(msg)
        if len(given) > 1 or len(given[0]) > LONGEST:
            msg = "Client-Cert must occur once, with at most 8,192 bytes."
            raise InvalidError(msg)
        der = self._read(given[0].decode("latin-1"))
        self._verify(der)
        return TransportPeer(hashlib.sha256(der).hexdigest(), der, direct.address)

    def _lists(self, address: str) -> bool:
        try:
            return any(ip_address(address) in network for network in self._listed)
        except ValueError:
            return False

    def _read(self, text: str) -> bytes:
        """Return the certificate in DER from the format of the proxy."""
        try:
            if self._form == "nginx":
                return read_certificate(read_der(unquote(text), "CERTIFICATE", "Client-Cert"), "Client-Cert").der
            # RFC 9440 puts colons around it; in the other formats base64 refuses colons.
            colons = _RFC9440.fullmatch(text)
            inner = (colons[1] if colons else ":") if self._form == "rfc9440" else text
            return read_certificate(base64.b64decode(inner, validate=True), "Client-Cert").der
        except (ValueError, binascii.Error, InvalidError) as error:
            msg = f"Client-Cert is not a certificate in the form {self._form}: {error}"
            raise InvalidError(msg) from error

    def _verify(self, der: bytes) -> None:
        store = self._store.get("store", _store)
        try:
            crypto.X509StoreContext(store, crypto.load_certificate(crypto.FILETYPE_ASN1, der)).verify_certificate()
        except crypto.X509StoreContextError as error:
            msg = "The certificate in Client-Cert does not chain to a known CA."
            raise DeniedError(msg) from error


def _store() -> crypto.X509Store:
    return trust_only(crypto.X509Store(), client_anchors([domain.slug for domain in selectors.list_domains()]))
