"""Get and renew the device's certificate by EST (RFC 7030)."""

import base64
import binascii
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs7

from fleet.agent.coap import CoapTransport
from fleet.agent.errors import RefusedError, TransportError
from fleet.agent.key import DeviceKey
from fleet.agent.transport import Transport
from pki.kernel import files

ROOT = "/.well-known/est"
ACCEPTED = 202
PKCS10 = {"Content-Type": "application/pkcs10"}


def enrol(transport: Transport, key: DeviceKey, name: str, token: str, chain: Path) -> None:
    """Get the first certificate with a one-time token and keep it with the CA certificates above it."""
    password = base64.b64encode(f"{name}:{token}".encode()).decode()
    headers = {**PKCS10, "Authorization": f"Basic {password}"}
    _obtain(transport, f"{ROOT}/simpleenroll", key, name, headers, chain)


def renew(transport: Transport, key: DeviceKey, name: str, chain: Path) -> None:
    """Get a new certificate with the present one."""
    _obtain(transport, f"{ROOT}/simplereenroll", key, name, PKCS10, chain)


def renew_over_coap(line: CoapTransport, key: DeviceKey, name: str, chain: Path) -> None:
    """Get a new certificate with the present one, by EST-coaps (RFC 9148): short names, raw DER."""
    authorities = _loaded(line.call("GET", f"{ROOT}/crts").body)
    answer = line.call("POST", f"{ROOT}/sren", key.request(name), PKCS10)
    _keep(_loaded(answer.body), authorities, chain)


def _obtain(transport: Transport, path: str, key: DeviceKey, name: str, headers: dict[str, str], chain: Path) -> None:
    authorities = _certificates(transport.call("GET", f"{ROOT}/cacerts").body)
    body = base64.b64encode(key.request(name))
    answer = transport.call("POST", path, body, headers)
    if answer.status == ACCEPTED:
        msg = "the enrolment waits for approval"
        raise TransportError(msg)
    _keep(_certificates(answer.body), authorities, chain)


def _keep(issued: list[x509.Certificate], authorities: list[x509.Certificate], chain: Path) -> None:
    if len(issued) != 1:
        msg = "the server answered an enrolment with other than one certificate"
        raise RefusedError(msg)
    above = [one for one in authorities if one.subject != one.issuer]
    pem = b"".join(one.public_bytes(serialization.Encoding.PEM) for one in (*issued, *above))
    files.write_private(chain, pem)


def _certificates(body: bytes) -> list[x509.Certificate]:
    try:
        return _loaded(base64.b64decode(body, validate=False))
    except binascii.Error as error:
        msg = "the server's answer holds no certificates"
        raise RefusedError(msg) from error


def _loaded(data: bytes) -> list[x509.Certificate]:
    try:
        return pkcs7.load_der_pkcs7_certificates(data)
    except ValueError as error:
        msg = "the server's answer holds no certificates"
        raise RefusedError(msg) from error
