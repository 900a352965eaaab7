"""``GET /v1/twin``: the desired configuration; ``PUT /v1/twin`` {config}: the reported one.

The poll announces a configuration until the device confirms it: by reporting the same, or by a request with its tag in
If-None-Match. The sections have separate versions: tag ``"dN"`` for the desired configuration, ``"rN"`` for the
reported one.
"""

from devices.services import twins
from fleet.gateway import codec
from fleet.gateway.identity import Identified
from fleet.gateway.protocol import DeviceRequest, Reply, ResponseOutcome
from pki.kernel.errors import InvalidError

FIELDS = frozenset({"config"})


def handle_twin(request: DeviceRequest, who: Identified) -> Reply:
    """Return the desired sections, or store the reported configuration."""
    twin = who.device.twin
    if request.method != "PUT":
        tag = twins.section_tag("d", twin.config_version)
        if tag in twins.parse_entity_tags(request.headers.get("if-none-match", "")):
            twins.note_fetched(actor=who.actor, device=who.device, version=twin.config_version)
            return Reply(ResponseOutcome.NOT_MODIFIED, headers={"etag": tag}, device_id=who.device.pk, routine=False)
        body = {"config": twin.desired.get("config", {}), "version": twin.config_version}
        body["components"] = twin.desired.get("components", {})
        reply = codec.encode_reply(request, body, who.device.pk)
    else:
        config = codec.decode_body(request, FIELDS).get("config")
        if not isinstance(config, dict):
            msg = "`config` must be a map."
            raise InvalidError(msg)
        seen = twins.seen_version("r", request.headers.get("if-match", ""))
        twin = twins.reported_config(actor=who.actor, device=who.device, config=config, seen=seen)
        tag = twins.section_tag("r", twin.reported_version)
        reply = codec.encode_reply(request, {"version": twin.reported_version}, who.device.pk)
    return Reply(
        reply.outcome, reply.payload, reply.content_type, {"etag": tag}, device_id=who.device.pk, routine=False
    )
