"""Who asks: checked on every request, because a TLS session outlives what it proved."""

from dataclasses import dataclass

from devices.models import Device
from devices.selectors.connections import device_behind, device_of_certificate
from fleet.gateway.protocol import Request
from fleet.observe import request_id
from pki import selectors
from pki.kernel import actor as actors
from pki.kernel import clock
from pki.kernel.actor import Actor
from pki.kernel.errors import DeniedError, NotFoundError, UnauthenticatedError
from pki.models import Certificate, TrustDomain
from pki.services.certificates import Standing, standing

_REASONS = {
    Standing.REVOKED: "The certificate is revoked.",
    Standing.NOT_YET: "The certificate is not valid yet; check the device's clock.",
    Standing.EXPIRED: "The certificate has expired; enrol the device again.",
    Standing.RENEWABLE: "The certificate has expired; renew it by simplereenroll first.",
}


@dataclass(frozen=True, slots=True)
class Identified:
    """A device that proved who it is.

    Args:
        device: with its domain, hardware model and twin.
        certificate: the one that it showed.
        actor: for the services.
    """

    device: Device
    certificate: Certificate
    actor: Actor


def device(request: Request, domain: TrustDomain, via: str, *, renewing: bool = False) -> Identified:
    """Return the device behind a request, or refuse.

    Args:
        request: with the peer's certificate, whose chain the transport has verified.
        domain: the trust domain that the request addresses; the certificate must belong to it.
        via: the dialect.
        renewing: an expired certificate within its grace is enough.

    Raises:
        UnauthenticatedError: no certificate, or one that this server did not issue.
        DeniedError: revoked, not in time, of another domain, or the device is out of service.
    """
    if not request.peer.fingerprint:
        msg = "Show the device's certificate in the TLS handshake."
        raise UnauthenticatedError(msg)
    certificate = selectors.certificate_by_fingerprint(request.peer.fingerprint)
    if certificate is None or certificate.profile != Certificate.Profile.DEVICE:
        msg = "This certificate was not issued to a device by this server."
        raise UnauthenticatedError(msg)
    if certificate.domain_id != domain.pk:
        msg = "The certificate belongs to another trust domain."
        raise DeniedError(msg)
    how = standing(certificate, clock.now())
    if how is not Standing.GOOD and not (renewing and how is Standing.RENEWABLE):
        raise DeniedError(_REASONS[how])
    found = _active(certificate)
    return Identified(found, certificate, actors.device(domain.slug, found.key, via=via, request_id=request_id.get()))


def child(who: Identified, public_id: str, via: str) -> Identified:
    """Return a device that a gateway speaks for: registered behind this very gateway, and in service.

    What the child signs, the gateway signs for it; nothing else passes from one to the other.

    Raises:
        DeniedError: it is not behind this gateway; whether it exists is not told.
    """
    found = device_behind(who.device, public_id)
    if found is None:
        msg = "No device in service with this id stands behind this gateway."
        raise DeniedError(msg)
    actor = actors.device(who.actor.domain, found.key, via=via, request_id=request_id.get())
    return Identified(found, who.certificate, actor)


def domain_by_host(host: str) -> TrustDomain:
    """Return the trust domain that a host name addresses; with one domain only, that one.

    Raises:
        NotFoundError: several domains, and none of them has this name.
    """
    known = selectors.known_domains()
    for domain in known:
        if host.lower() in {name.lower() for name in domain.host_names}:
            return domain
    if len(known) == 1:
        return known[0]
    msg = "No trust domain is reached by this host name."
    raise NotFoundError(msg)


def domain_by_slug(slug: str) -> TrustDomain:
    """Return the trust domain that a label or tenant names, without regard to case.

    Raises:
        NotFoundError: there is none.
    """
    return selectors.known_domain(slug.lower())


def _active(certificate: Certificate) -> Device:
    found = device_of_certificate(certificate)
    if found is None or found.state != Device.State.ACTIVE:
        msg = "The device is out of service." if found else "The device is not registered any more."
        raise DeniedError(msg)
    return found
