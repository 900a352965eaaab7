"""``GET /v1/twin``: what the device shall be; ``PUT /v1/twin`` {config}: what it is configured as.

The poll names a configuration until the device has shown that it has it: by reporting the same, or by asking with its
tag in If-None-Match. Both sections have their own version: the tag ``"dN"`` is the desired configuration's, ``"rN"``
the reported one's.
"""

from devices.services import twins
from fleet.gateway import codec
from fleet.gateway.identity import Identified
from fleet.gateway.protocol import Outcome, Reply, Request
from pki.kernel.errors import InvalidError

FIELDS = frozenset({"config"})


def handle(request: Request, who: Identified) -> Reply:
    """Return the desired sections, or take the reported configuration."""
    twin = who.device.twin
    if request.method != "PUT":
        tag = twins.tag("d", twin.config_version)
        if tag in twins.tags(request.headers.get("if-none-match", "")):
            twins.fetched(actor=who.actor, device=who.device, version=twin.config_version)
            return Reply(Outcome.NOT_MODIFIED, headers={"etag": tag}, device_id=who.device.pk, routine=False)
        body = {"config": twin.desired.get("config", {}), "version": twin.config_version}
        body["components"] = twin.desired.get("components", {})
        reply = codec.encode(request, body, who.device.pk)
    else:
        config = codec.decode(request, FIELDS).get("config")
        if not isinstance(config, dict):
            msg = "`config` is a map."
            raise InvalidError(msg)
        seen = twins.seen_version("r", request.headers.get("if-match", ""))
        twin = twins.reported_config(actor=who.actor, device=who.device, config=config, seen=seen)
        tag = twins.tag("r", twin.reported_version)
        reply = codec.encode(request, {"version": twin.reported_version}, who.device.pk)
    return Reply(
        reply.outcome, reply.payload, reply.content_type, {"etag": tag}, device_id=who.device.pk, routine=False
    )
