"""The operations of EST for both transports: DER in, DER out (RFC 7030, RFC 9148)."""

import base64
import hmac
from collections.abc import Callable
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs7

from devices.proofs.claim import Shown
from devices.services import enrolment
from fleet.gateway import identity
from fleet.gateway.protocol import DeviceRequest, TransportPeer
from fleet.observe import request_id
from pki import selectors
from pki.csr import challenge_password
from pki.csrattrs import csr_attributes
from pki.kernel import actor as actors
from pki.kernel.errors import InvalidError
from pki.models import Certificate, TrustDomain
from pki.profiles import ALL_KEY_TYPES
from pki.services import profiles
from pki.x509 import parse_csr, read_csr


@dataclass(frozen=True, slots=True)
class EstLabel:
    """The trust domain and the optional profile that a host name and a label select."""

    domain: TrustDomain
    profile: str = ""


@dataclass(frozen=True, slots=True)
class EnrolmentAnswer:
    """The result of an enrolment: certs-only with the certificate, and the key if the server generated it."""

    certificates: bytes
    device_id: int
    key: bytes = b""


def parse_est_label(label: str, by_host: Callable[[str], TrustDomain], host: str) -> EstLabel:
    """Return what a label selects: ``domain``, ``profile`` of the host's domain, or ``domain.profile``.

    Raises:
        NotFoundError: no domain or profile has that name.
    """
    if not label:
        return EstLabel(by_host(host))
    first, dot, second = label.partition(".")
    if dot:
        domain = identity.domain_by_slug(first)
        return EstLabel(domain, profiles.profile_of(domain.slug, second).name)
    known = next((one for one in selectors.known_domains() if one.slug == first.lower()), None)
    if known is not None:
        return EstLabel(known)
    domain = by_host(host)
    return EstLabel(domain, profiles.profile_of(domain.slug, first).name)


def est_cacerts(where: EstLabel) -> bytes:
    """Return every CA certificate of a domain: roots, issuing CAs, and the cross-certificates of a rollover."""
    anchors = selectors.trust_anchors(actor=actors.system_actor(where.domain.slug, "est", via="est"))
    return pkcs7.serialize_certificates(anchors, serialization.Encoding.DER)


def est_csrattrs(where: EstLabel) -> bytes:
    """Return the CSR attributes (RFC 8951, 3.2): the key type that the profile prefers."""
    profile = profiles.profile_of(where.domain.slug, where.profile or "device")
    return csr_attributes(profile.key_types)


def enrol_device(where: EstLabel, peer: TransportPeer, secret: str, csr: bytes) -> EnrolmentAnswer:
    """Enrol a device with a token, an expected key or a vendor certificate."""
    request = read_csr(csr, ALL_KEY_TYPES)
    check_binding(request, peer)
    shown = Shown(secret, peer.certificate, profile=where.profile)
    done = enrolment.enrol(domain=where.domain, csr=request, via="est", shown=shown, request_id=request_id.get())
    return EnrolmentAnswer(_certs_only(done.certificate), done.device.pk)


def est_keygen(where: EstLabel, peer: TransportPeer, secret: str, csr: bytes) -> EnrolmentAnswer:
    """Enrol with server-side key generation. The signer does not keep the key, and ignores the key in the request."""
    request = parse_csr(csr, ALL_KEY_TYPES)
    check_binding(request, peer)
    shown = Shown(secret, peer.certificate, profile=where.profile)
    done = enrolment.enrol_with_keygen(
        domain=where.domain, csr=request, via="est", shown=shown, request_id=request_id.get()
    )
    return EnrolmentAnswer(_certs_only(done.certificate), done.device.pk, done.key)


def est_reenrol(where: EstLabel, request: DeviceRequest, csr: bytes) -> EnrolmentAnswer:
    """Renew or re-key a certificate of this domain that is valid or within the grace period of its profile."""
    who = identity.authenticate_device(request, where.domain, "est", renewing=True)
    identity.gate_quarantined(who, allowed=False)
    check_binding(parse_csr(csr, ALL_KEY_TYPES), request.peer)
    certificate = enrolment.renew_identity(actor=who.actor, device=who.device, csr=csr, current=who.certificate)
    return EnrolmentAnswer(_certs_only(certificate), who.device.pk)


def check_binding(csr: x509.CertificateSigningRequest, peer: TransportPeer) -> None:
    """Refuse a request that is bound to another connection (RFC 7030, 3.5).

    Raises:
        InvalidError: its challengePassword is not this connection's tls-unique, or TLS 1.3 has no tls-unique.
    """
    given = challenge_password(csr)
    if given is None:
        return
    if not peer.binding:
        msg = "The request has a challengePassword (tls-unique), which TLS 1.3 does not support. Use TLS 1.2."
        raise InvalidError(msg)
    if not hmac.compare_digest(given, base64.b64encode(peer.binding)):
        msg = "The challengePassword does not match the tls-unique of this connection. Create the request again."
        raise InvalidError(msg)


def _certs_only(certificate: Certificate) -> bytes:
    leaf = x509.load_der_x509_certificate(bytes(certificate.der))
    return pkcs7.serialize_certificates([leaf], serialization.Encoding.DER)
