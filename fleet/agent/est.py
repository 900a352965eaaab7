"""Get and renew the device's certificate by EST (RFC 7030)."""

import base64
import binascii
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs7
from cryptography.x509.oid import ExtendedKeyUsageOID

from fleet.agent.coap import CoapTransport
from fleet.agent.errors import RefusedError, TransportError
from fleet.agent.key import DeviceKey
from fleet.agent.transport import Transport
from pki.kernel import clock, files

ROOT = "/.well-known/est"
ACCEPTED = 202
#: longest chain: an issuing CA, and a cross-certificate from its root to the trusted one
DEEPEST = 2
LEAST_LIFE = SKEW = timedelta(hours=1)
_Extension = TypeVar("_Extension", x509.BasicConstraints, x509.ExtendedKeyUsage, x509.KeyUsage)
PKCS10 = {"Content-Type": "application/pkcs10"}


@dataclass(frozen=True, slots=True)
class Holder:
    """The owner of the certificate.

    Args:
        key: the device's own.
        name: of the device.
        chain: file of the certificate chain.
        anchors: file of the trust anchors.
    """

    key: DeviceKey
    name: str
    chain: Path
    anchors: Path


def enrol_first(transport: Transport, holder: Holder, token: str) -> None:
    """Get the first certificate with a one-time token, and store it with its CA certificates.

    Raises:
        RefusedError: the answer is not a certificate for this key under a trust anchor.
        TransportError: the enrolment waits for approval, or the server cannot be reached.
    """
    password = base64.b64encode(f"{holder.name}:{token}".encode()).decode()
    _obtain(transport, f"{ROOT}/simpleenroll", holder, {**PKCS10, "Authorization": f"Basic {password}"})


def renew_certificate(transport: Transport, holder: Holder) -> None:
    """Renew the certificate; raises like ``enrol``."""
    _obtain(transport, f"{ROOT}/simplereenroll", holder, PKCS10)


def renew_over_coap(line: CoapTransport, holder: Holder) -> None:
    """Renew the certificate by EST-coaps (RFC 9148): short names, raw DER."""
    authorities = _loaded(line.call("GET", f"{ROOT}/crts").body)
    answer = line.call("POST", f"{ROOT}/sren", holder.key.request(holder.name), PKCS10)
    _keep(_loaded(answer.body), authorities, holder)


def _obtain(transport: Transport, path: str, holder: Holder, headers: dict[str, str]) -> None:
    authorities = _certificates(transport.call("GET", f"{ROOT}/cacerts").body)
    body = base64.b64encode(holder.key.request(holder.name))
    answer = transport.call("POST", path, body, headers)
    if answer.status == ACCEPTED:
        msg = "the enrolment waits for approval"
        raise TransportError(msg)
    _keep(_certificates(answer.body), authorities, holder)


def _keep(issued: list[x509.Certificate], authorities: list[x509.Certificate], holder: Holder) -> None:
    """Store a new certificate if it is usable. Otherwise keep the current one."""
    if len(issued) != 1:
        msg = "the enrolment answer must contain exactly one certificate"
        raise RefusedError(msg)
    above = [authority for authority in authorities if authority.subject != authority.issuer]
    _demand_usable(issued[0], above, holder)
    pem = b"".join(certificate.public_bytes(serialization.Encoding.PEM) for certificate in (*issued, *above))
    files.write_private(holder.chain, pem)


def _demand_usable(leaf: x509.Certificate, above: list[x509.Certificate], holder: Holder) -> None:
    """Refuse a certificate for another key or device, without a trusted root, or about to expire."""
    roots = x509.load_pem_x509_certificates(holder.anchors.read_bytes())
    if not _is_for(leaf, holder.key):
        msg = "the new certificate is for another key"
        raise RefusedError(msg)
    if not _leads_to(roots, leaf, above, DEEPEST):
        msg = "the new certificate does not chain to a trust anchor of this device"
        raise RefusedError(msg)
    now = clock.now()
    if leaf.not_valid_after_utc < now + LEAST_LIFE:
        msg = "the new certificate expires within one hour"
        raise RefusedError(msg)
    if leaf.not_valid_before_utc > now + SKEW:
        msg = f"the new certificate is not valid before {leaf.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
        raise RefusedError(msg)
    _demand_client(leaf)
    if holder.chain.exists() and certificate_uris(holder.chain) != _names(leaf):
        msg = "the new certificate is for another device"
        raise RefusedError(msg)


def _demand_client(leaf: x509.Certificate) -> None:
    """Refuse a CA certificate, or one that servers reject in a TLS handshake (RFC 5280, 4.2.1)."""
    basic, usages = _extension(leaf, x509.BasicConstraints), _extension(leaf, x509.ExtendedKeyUsage)
    usage = _extension(leaf, x509.KeyUsage)
    if (basic is not None and basic.ca) or (usage is not None and usage.key_cert_sign):
        msg = "the new certificate is a CA certificate"
        raise RefusedError(msg)
    allowed = {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
    if usages is not None and not allowed & set(usages):
        msg = "the new certificate lacks the extended key usage clientAuth"
        raise RefusedError(msg)
    if usage is not None and not usage.digital_signature:
        msg = "the new certificate lacks the key usage digitalSignature"
        raise RefusedError(msg)


def _extension(certificate: x509.Certificate, kind: type[_Extension]) -> _Extension | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
    except (ValueError, x509.DuplicateExtension) as error:
        msg = f"a certificate has extensions that cannot be read: {error}"
        raise RefusedError(msg) from error


def _may_issue(issuer: x509.Certificate, below: int) -> bool:
    """Return whether a certificate is a valid CA with at least this path length."""
    basic, usage = _extension(issuer, x509.BasicConstraints), _extension(issuer, x509.KeyUsage)
    now = clock.now()
    in_time = issuer.not_valid_before_utc <= now + SKEW and now <= issuer.not_valid_after_utc
    deep = basic is not None and (basic.path_length is None or basic.path_length >= below)
    return in_time and basic is not None and basic.ca and deep and (usage is None or usage.key_cert_sign)


def _is_for(leaf: x509.Certificate, key: DeviceKey) -> bool:
    try:
        return leaf.public_key() == key.public
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return False


def certificate_uris(chain: Path) -> list[str]:
    """Return the URIs in the device's certificate. The last part of the first is its public id."""
    return _names(x509.load_pem_x509_certificates(chain.read_bytes())[0])


def _names(leaf: x509.Certificate) -> list[str]:
    try:
        alternative_name = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return []
    return alternative_name.get_values_for_type(x509.UniformResourceIdentifier)


def _leads_to(
    roots: list[x509.Certificate], certificate: x509.Certificate, above: list[x509.Certificate], deep: int
) -> bool:
    """Return whether a certificate chains to a root, with a cross-certificate in between during a rollover."""
    below = DEEPEST - deep
    if any(_issued_by(certificate, root) and _may_issue(root, below) for root in roots):
        return True
    issuers = (
        [issuer for issuer in above if _issued_by(certificate, issuer) and _may_issue(issuer, below)]
        if deep > 0
        else []
    )
    return any(_leads_to(roots, issuer, above, deep - 1) for issuer in issuers)


def _issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _certificates(body: bytes) -> list[x509.Certificate]:
    try:
        return _loaded(base64.b64decode(body, validate=False))
    except binascii.Error as error:
        msg = "the server's answer contains no certificates"
        raise RefusedError(msg) from error


def _loaded(data: bytes) -> list[x509.Certificate]:
    try:
        return pkcs7.load_der_pkcs7_certificates(data)
    except (ValueError, UnsupportedAlgorithm) as error:
        msg = "the server's answer contains no certificates"
        raise RefusedError(msg) from error
