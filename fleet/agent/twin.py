"""Store the desired configuration from the server, and report the current one."""

import http
import logging
from collections.abc import Mapping

import cbor2

from devices.contract import configuration
from fleet.agent.coap import CoapTransport
from fleet.agent.errors import AnswerError
from fleet.agent.state import StateFile
from fleet.agent.transport import Transport
from pki.kernel import cbor, intake
from pki.kernel.errors import InvalidError

CBOR = {"Content-Type": "application/cbor"}
_logger = logging.getLogger("muster.agent")


def sync_configuration(line: Transport | CoapTransport, state: StateFile, name: str) -> None:
    """Fetch the configuration, store it if it is valid, and report the current one.

    Args:
        line: connection to the server.
        state: state of the device; stores the configuration and the tags.
        name: of the device, for its log.
    """
    try:
        answer = line.call("GET", "/v1/twin", None, {"If-None-Match": state.get("config_tag", '"d0"')})
    except AnswerError as error:
        if error.status != http.HTTPStatus.NOT_MODIFIED:
            raise
        return
    if answer.status == http.HTTPStatus.NOT_MODIFIED:
        return
    try:
        body = intake.map_of(cbor.loads(answer.body, max_bytes=configuration.MOST_BYTES * 4), "twin")
        config = intake.map_of(body["config"], "config")
        configuration.check_configuration(config)
    except (InvalidError, KeyError, TypeError) as error:
        _logger.warning("configuration refused", extra={"device": name, "cause": str(error)})
    else:
        state.put(config=config)
        _report(line, state, config)
    # Stored even if refused: the next request sends this tag, so that the server stops offering it.
    state.put(config_tag=answer.headers.get("etag", '"d0"'))


def _report(line: Transport | CoapTransport, state: StateFile, config: Mapping[str, object]) -> None:
    tag = state.get("reported_tag", '"r0"')
    for _ in range(2):
        headers = {**CBOR, "If-Match": tag}
        try:
            answer = line.call("PUT", "/v1/twin", cbor2.dumps({"config": config}), headers)
        except AnswerError as error:
            if error.status != http.HTTPStatus.PRECONDITION_FAILED:
                raise
            tag = error.tag  # the state was lost, or another report came first: the server returns its version
            continue
        state.put(reported_tag=answer.headers.get("etag", '"r0"'))
        return
