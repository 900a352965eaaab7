"""Authenticate the device on every request, because a TLS session may outlive its certificate."""

from dataclasses import dataclass

from devices.models import Device
from devices.selectors.connections import device_behind, device_of_certificate
from fleet.gateway.protocol import DeviceRequest
from fleet.observe import request_id
from pki import selectors
from pki.kernel import actor as actors
from pki.kernel import clock
from pki.kernel.actor import Actor
from pki.kernel.errors import DeniedError, NotFoundError, UnauthenticatedError
from pki.models import Certificate, TrustDomain
from pki.services.certificates import CertificateStanding, certificate_status

_REASONS = {
    CertificateStanding.REVOKED: "The certificate is revoked.",
    CertificateStanding.NOT_YET: "The certificate is not valid yet. Check the device's clock.",
    CertificateStanding.EXPIRED: "The certificate has expired. Enrol the device again.",
    CertificateStanding.RENEWABLE: "The certificate has expired. Renew it with simplereenroll first.",
}


@dataclass(frozen=True, slots=True)
class Identified:
    """An authenticated device.

    Args:
        device: the device with its domain, hardware model and twin.
        certificate: its certificate.
        actor: actor for the services.
    """

    device: Device
    certificate: Certificate
    actor: Actor


def authenticate_device(request: DeviceRequest, domain: TrustDomain, via: str, *, renewing: bool = False) -> Identified:
    """Return the device that sent a request, or refuse.

    Args:
        request: request with the peer's certificate; the transport has verified its chain.
        domain: the trust domain that the request addresses; the certificate must belong to it.
        via: name of the protocol adapter.
        renewing: accept an expired certificate within its grace period.

    Raises:
        UnauthenticatedError: no certificate, or one from another issuer.
        DeniedError: it is revoked, not valid now, of another domain, or the device is out of service.
    """
    if not request.peer.fingerprint:
        msg = "A client certificate is required. Present the device's certificate in the TLS handshake."
        raise UnauthenticatedError(msg)
    certificate = selectors.certificate_by_fingerprint(request.peer.fingerprint)
    if certificate is None or certificate.profile != Certificate.Profile.DEVICE:
        msg = "This server did not issue this certificate to a device."
        raise UnauthenticatedError(msg)
    if certificate.domain_id != domain.pk:
        msg = "The certificate belongs to another trust domain."
        raise DeniedError(msg)
    how = certificate_status(certificate, clock.now())
    if how is not CertificateStanding.GOOD and not (renewing and how is CertificateStanding.RENEWABLE):
        raise DeniedError(_REASONS[how])
    device = _active(certificate)
    return Identified(
        device, certificate, actors.device_actor(domain.slug, device.key, via=via, request_id=request_id.get())
    )


def gate_quarantined(who: Identified, *, allowed: bool) -> None:
    """Restrict a quarantined device to the resources of its repair; the same for every protocol adapter.

    Raises:
        DeniedError: the device is quarantined and the resource is not part of its repair.
    """
    if who.device.quarantined and not allowed:
        msg = "The device is quarantined. It can use only the resources for its repair."
        raise DeniedError(msg)


def get_child(who: Identified, public_id: str, via: str) -> Identified:
    """Return a child device of a gateway: registered behind this gateway, and in service.

    The gateway signs on behalf of the child. Nothing else is shared between them.

    Raises:
        DeniedError: it is not behind this gateway; the error does not reveal whether it exists.
    """
    child = device_behind(who.device, public_id)
    if child is None:
        msg = "No device in service with this id is registered behind this gateway."
        raise DeniedError(msg)
    actor = actors.device_actor(who.actor.domain, child.key, via=via, request_id=request_id.get())
    return Identified(child, who.certificate, actor)


def domain_by_host(host: str) -> TrustDomain:
    """Return the trust domain of a host name; if there is only one domain, return it.

    Raises:
        NotFoundError: there are several domains, and none has this name.
    """
    known = selectors.known_domains()
    for domain in known:
        if host.lower() in {name.lower() for name in domain.host_names}:
            return domain
    if len(known) == 1:
        return known[0]
    msg = "No trust domain has this host name."
    raise NotFoundError(msg)


def domain_by_slug(slug: str) -> TrustDomain:
    """Return the trust domain of a label or tenant; case does not matter.

    Raises:
        NotFoundError: no such domain.
    """
    return selectors.known_domain(slug.lower())


def _active(certificate: Certificate) -> Device:
    device = device_of_certificate(certificate)
    if device is None or device.state != Device.State.ACTIVE:
        msg = "The device is out of service." if device else "The device is no longer registered."
        raise DeniedError(msg)
    return device
