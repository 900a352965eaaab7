"""``POST /v1/oscore``: an OSCORE context (RFC 8613) for the certificate of this connection."""

from django.conf import settings

from devices.services import oscore
from fleet.gateway import codec
from fleet.gateway.identity import Identified
from fleet.gateway.protocol import DeviceRequest, Reply
from pki.kernel.errors import DeniedError, NotFoundError

#: AES-CCM-16-64-128 and direct+HKDF-SHA-256 of the COSE registry: mandatory to implement
ALGORITHM, DERIVATION = 10, -10


def handle_oscore(request: DeviceRequest, who: Identified) -> Reply:
    """Return the input material of a new context."""
    if not settings.FLEET_OSCORE_PORT:
        msg = "OSCORE is not enabled on this server. The operator enables it with FLEET_OSCORE_PORT."
        raise NotFoundError(msg)
    if not request.peer.certificate or request.query:
        msg = "An OSCORE context requires a client certificate. Send this request over https:// or coaps://."
        raise DeniedError(msg)
    context = oscore.provision_context(actor=who.actor, device=who.device, certificate=who.certificate)
    body = {
        "alg": ALGORITHM,
        "hkdf": DERIVATION,
        "ms": context.secret,
        "salt": context.salt,
        "client_id": context.kid,
        "server_id": b"",
        "port": settings.FLEET_OSCORE_PORT,
    }
    return codec.encode_reply(request, body, who.device.pk)
