"""Get and renew the device's certificate by EST (RFC 7030)."""

import base64
import binascii
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs7

from fleet.agent.coap import CoapTransport
from fleet.agent.errors import RefusedError, TransportError
from fleet.agent.key import DeviceKey
from fleet.agent.transport import Transport
from pki.kernel import clock, files

ROOT = "/.well-known/est"
ACCEPTED = 202
#: an issuing CA, and a link from its root to the one that this device trusts
DEEPEST = 2
LEAST_LIFE = timedelta(hours=1)
PKCS10 = {"Content-Type": "application/pkcs10"}


@dataclass(frozen=True, slots=True)
class Holder:
    """Whose certificate it is.

    Args:
        key: the device's own.
        name: of the device.
        chain: file of the certificate and those above it.
        anchors: file of the roots that the device trusts.
    """

    key: DeviceKey
    name: str
    chain: Path
    anchors: Path


def enrol(transport: Transport, holder: Holder, token: str) -> None:
    """Get the first certificate with a one-time token and keep it with the CA certificates above it.

    Raises:
        RefusedError: what came is no certificate for this key under a trusted root.
        TransportError: the enrolment waits for approval, or the server cannot be reached.
    """
    password = base64.b64encode(f"{holder.name}:{token}".encode()).decode()
    _obtain(transport, f"{ROOT}/simpleenroll", holder, {**PKCS10, "Authorization": f"Basic {password}"})


def renew(transport: Transport, holder: Holder) -> None:
    """Get a new certificate with the present one; raises as ``enrol`` does."""
    _obtain(transport, f"{ROOT}/simplereenroll", holder, PKCS10)


def renew_over_coap(line: CoapTransport, holder: Holder) -> None:
    """Get a new certificate with the present one, by EST-coaps (RFC 9148): short names, raw DER."""
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
    """Keep a certificate that would work; a present one is never given up for one that would not."""
    if len(issued) != 1:
        msg = "the server answered an enrolment with other than one certificate"
        raise RefusedError(msg)
    above = [one for one in authorities if one.subject != one.issuer]
    _demand_usable(issued[0], above, holder)
    pem = b"".join(one.public_bytes(serialization.Encoding.PEM) for one in (*issued, *above))
    files.write_private(holder.chain, pem)


def _demand_usable(leaf: x509.Certificate, above: list[x509.Certificate], holder: Holder) -> None:
    """Refuse a certificate of another key or device, under no root of this device, or about to end."""
    roots = x509.load_pem_x509_certificates(holder.anchors.read_bytes())
    if not _is_for(leaf, holder.key):
        msg = "the new certificate is for another key"
        raise RefusedError(msg)
    if not _leads_to(roots, leaf, above, DEEPEST):
        msg = "the new certificate does not lead to a root that this device trusts"
        raise RefusedError(msg)
    if leaf.not_valid_after_utc < clock.now() + LEAST_LIFE:
        msg = "the new certificate ends within the hour"
        raise RefusedError(msg)
    if holder.chain.exists() and identity(holder.chain) != _names(leaf):
        msg = "the new certificate names another device"
        raise RefusedError(msg)


def _is_for(leaf: x509.Certificate, key: DeviceKey) -> bool:
    try:
        return leaf.public_key() == key.public
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return False


def identity(chain: Path) -> list[str]:
    """Return the URIs in the certificate that a device holds; the last part of the first is its public id."""
    return _names(x509.load_pem_x509_certificates(chain.read_bytes())[0])


def _names(leaf: x509.Certificate) -> list[str]:
    try:
        found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return []
    return found.get_values_for_type(x509.UniformResourceIdentifier)


def _leads_to(roots: list[x509.Certificate], one: x509.Certificate, above: list[x509.Certificate], deep: int) -> bool:
    """Say whether a certificate leads to a root; in a rollover a link between two roots lies between."""
    if any(_issued_by(one, root) for root in roots):
        return True
    return deep > 0 and any(_issued_by(one, issuer) and _leads_to(roots, issuer, above, deep - 1) for issuer in above)


def _issued_by(one: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        one.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _certificates(body: bytes) -> list[x509.Certificate]:
    try:
        return _loaded(base64.b64decode(body, validate=False))
    except binascii.Error as error:
        msg = "the server's answer holds no certificates"
        raise RefusedError(msg) from error


def _loaded(data: bytes) -> list[x509.Certificate]:
    try:
        return pkcs7.load_der_pkcs7_certificates(data)
    except (ValueError, UnsupportedAlgorithm) as error:
        msg = "the server's answer holds no certificates"
        raise RefusedError(msg) from error
