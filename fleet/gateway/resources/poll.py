"""``GET /v1/poll`` (or POST with an empty map): check for pending work."""

from fleet.gateway import codec
from fleet.gateway.identity import Identified
from fleet.gateway.poll_cache import jitter_seconds
from fleet.gateway.protocol import DeviceRequest, Reply
from ota.services import offers
from pki.kernel import clock
from pki.services.certificates import renew_at


def handle_poll(request: DeviceRequest, who: Identified) -> Reply:
    """Return {"next": seconds} and the pending work.

    ``update``: id of the action; ``command``: true; ``twin``: version of a configuration that the device has not
    confirmed; ``renew``: true when the certificate is due for renewal. Devices ignore fields that they do not know.
    """
    codec.decode_body(request, frozenset())
    offer = offers.poll_work(actor=who.actor, device=who.device, follows_metadata=True)
    body: dict[str, object] = {"next": jitter_seconds(offer.next_s)}
    # A child device has no certificate to renew. A quarantined device renews after its release: until then it can use
    # only the resources of its repair.
    own = who.certificate.subject_key == who.device.key
    if own and not who.device.quarantined and renew_at(who.certificate) <= clock.now():
        body["renew"] = True
    if offer.assignment is not None:
        body["update"] = offer.assignment.action_id
    if offer.command:
        body["command"] = True
    if not who.device.quarantined and who.device.twin.config_version > who.device.twin.config_fetched:
        body["twin"] = who.device.twin.config_version
    return codec.encode_reply(request, body, who.device.pk)
