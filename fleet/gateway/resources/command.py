"""``POST /v1/command`` {nonce}: pending commands, signed by the director; ``POST /v1/command/ID`` {state, result}."""

from fleet.gateway import codec
from fleet.gateway.identity import Identified
from fleet.gateway.protocol import DeviceRequest, Reply, ResponseOutcome
from ota.services import commands, director
from pki.kernel import ids
from pki.kernel.errors import InvalidError

ANSWER = frozenset({"state", "result"})


def handle_command(request: DeviceRequest, who: Identified) -> Reply:
    """Return the signed commands, or accept the result of one."""
    name = request.path.removeprefix("/v1/command").strip("/")
    body = codec.decode_body(request, ANSWER if name else codec.NONCE, free_text=bool(name))
    if not name:
        nonce = codec.body_octets(body, "nonce")
        data = director.commands_for(actor=who.actor, device=who.device, nonce=nonce)
        return Reply(ResponseOutcome.OK, data, codec.JSON, device_id=who.device.pk, routine=False)
    state, result = body.get("state"), body.get("result", "")
    if not ids.is_uuid(name) or not isinstance(state, str) or not isinstance(result, str):
        msg = "Send the result to /v1/command/ID with `state` and, optionally, `result`. Both must be text."
        raise InvalidError(msg)
    commands.answer_command(actor=who.actor, device=who.device, public_id=name, state=state, result=result)
    return Reply(ResponseOutcome.NO_CONTENT, device_id=who.device.pk, routine=False)
