"""Certificates that a proxy has seen in a handshake and hands on (RFC 9440): from listed proxies only, verified again.

A header field is a claim that anybody can write. It counts only on a connection from an address that the operator has
listed; from anybody else it is refused, not passed over: whoever sends it wants to be somebody else.
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

from fleet.gateway.anchors import believe, client_anchors
from fleet.gateway.protocol import Peer
from pki import selectors
from pki.foreign import read_certificate
from pki.kernel.errors import DeniedError, InvalidError
from pki.kernel.pem import read_der
from pki.kernel.recent import Recent

FIELD = b"client-cert"
#: what a sloppy proxy or a sly client may send in its place
LOOKALIKES = frozenset(
    {b"client_cert", b"x-client-cert", b"x-ssl-client-cert", b"ssl-client-cert", b"client-cert-chain"}
)
LONGEST = 8192
#: rfc9440 is ``:BASE64 of DER:``, haproxy the same without colons, nginx a PEM with percent signs
FORMS = ("rfc9440", "haproxy", "nginx")
_RFC9440 = re.compile(r":([A-Za-z0-9+/=]+):")
_logger = logging.getLogger("muster.access")


class Proxies:
    """The proxies of a door.

    Args:
        listed: addresses or networks; none: no proxy is believed.
        form: of ``FORMS``.

    Raises:
        InvalidError: an address or the form makes no sense.
    """

    def __init__(self, listed: Iterable[str], form: str) -> None:
        try:
            self._listed: list[IPv4Network | IPv6Network] = [ip_network(one, strict=False) for one in listed]
        except ValueError as error:
            msg = f"FLEET_PROXIES holds addresses and networks, with commas between: {error}."
            raise InvalidError(msg) from error
        if form not in FORMS:
            msg = f"FLEET_PROXY_FORM is one of {', '.join(FORMS)}."
            raise InvalidError(msg)
        self._form = form
        self._store: Recent[str, crypto.X509Store] = Recent(seconds=2.0)

    def peer(self, fields: Iterable[tuple[bytes, bytes]], direct: Peer) -> Peer:
        """Return who is meant by a request: the direct peer, or the one whose certificate a listed proxy hands on.

        Raises:
            DeniedError: such a field from anybody else, beside a certificate, or a certificate of no known CA.
            InvalidError: twice, too long, or no certificate.
        """
        given = [value for name, value in fields if name == FIELD]
        odd = [name for name, _ in fields if name in LOOKALIKES]
        if not given and not odd:
            return direct
        if odd or direct.fingerprint or not self._lists(direct.address):
            _logger.warning("a certificate in a header is refused", extra={"peer": direct.address[:64]})
            msg = "A client certificate in a header field is believed from listed proxies only."
            raise DeniedError(msg)
        if len(given) > 1 or len(given[0]) > LONGEST:
            msg = "Client-Cert comes once and has at most 8,192 bytes."
            raise InvalidError(msg)
        der = self._read(given[0].decode("latin-1"))
        self._verify(der)
        return Peer(hashlib.sha256(der).hexdigest(), der, direct.address)

    def _lists(self, address: str) -> bool:
        try:
            return any(ip_address(address) in one for one in self._listed)
        except ValueError:
            return False

    def _read(self, text: str) -> bytes:
        """Return the certificate in DER, whatever way the proxy writes it."""
        try:
            if self._form == "nginx":
                return read_certificate(read_der(unquote(text), "CERTIFICATE", "Client-Cert"), "Client-Cert").der
            # In the form of RFC 9440 there are colons around it; where they do not belong, base64 refuses them.
            colons = _RFC9440.fullmatch(text)
            inner = (colons[1] if colons else ":") if self._form == "rfc9440" else text
            return read_certificate(base64.b64decode(inner, validate=True), "Client-Cert").der
        except (ValueError, binascii.Error, InvalidError) as error:
            msg = f"Client-Cert holds no certificate in the form {self._form}: {error}"
            raise InvalidError(msg) from error

    def _verify(self, der: bytes) -> None:
        store = self._store.get("store", _store)
        try:
            crypto.X509StoreContext(store, crypto.load_certificate(crypto.FILETYPE_ASN1, der)).verify_certificate()
        except crypto.X509StoreContextError as error:
            msg = "The certificate that the proxy hands on was issued by nobody known here."
            raise DeniedError(msg) from error


def _store() -> crypto.X509Store:
    return believe(crypto.X509Store(), client_anchors([domain.slug for domain in selectors.domains()]))
