"""The reference agent in OSCORE: datagrams without a handshake, a context on its disk, numbers that never come twice."""

import json
import time
import uuid
from dataclasses import replace

import pytest

from fleet.agent.agent import Agent
from fleet.agent.errors import AnswerError, TransportError
from fleet.agent.oscore import AHEAD
from fleet.management.quickstart import material
from tests.factories.story import eventually, identity
from tests.peers.operator import Operator
from tests.transports.test_agent_over_coap import BOARD, Lossy, hears_at_once

pytestmark = [pytest.mark.peer, pytest.mark.xdist_group("listeners")]


@pytest.fixture(scope="module")
def operator(story, tmp_path_factory):
    made = Operator(story, tmp_path_factory.mktemp("oscore-operator"))
    made.board(BOARD)
    return made


@pytest.fixture(params=["https", "coaps"])
def agent(story, operator, tmp_path, request):
    """Return an agent that shows its certificate over the one or the other, and speaks OSCORE from then on."""
    first = story.agent(f"oscore-agent-{uuid.uuid4().hex[:6]}", tmp_path / "disk", BOARD)
    first.close()
    shown = {"https": first.settings.server, "coaps": f"coaps://localhost:{story.settings['FLEET_COAP_PORT']}"}
    made = Agent(replace(first.settings, server=shown[request.param], oscore=True))
    yield made
    made.close()


def stored(agent):
    return json.loads((agent.settings.folder / "oscore.json").read_text())


def test_it_installs_reports_renews_obeys_and_syncs(story, operator, agent, tmp_path):
    version, counter = ("4.1.0", 41) if agent.settings.server.startswith("https") else ("4.2.0", 42)
    archive = material.fetch_archives()["uflash==1.1.0"]
    made = material.build_firmware(story.folder / "offline", tmp_path / "made", archive, version, counter)
    kind = {"board": BOARD, "form": "mcuboot", "name": f"oscore-{uuid.uuid4().hex[:6]}", "component": "app"}
    bundle = operator.upload(made.files["app.bin"].read_bytes(), version, counter=counter, **kind)
    rollout = operator.roll_out(operator.release(bundle))
    eventually(lambda: agent.step() and agent.components().get("app", {}).get("version") == version, 90)
    eventually(lambda: operator.progress(rollout)["groups"].get("finished"))
    key = story.device(agent.settings.name)["id"]
    agent.telemetry({"temp_c": 20.0}, [("tcp", 443, "wan")])
    story.rest.patch(f"/devices/{key}/twin", {"sample_s": 7}, {"If-Match": '"d0"'})
    eventually(lambda: agent.step() and agent.state.get("config"))
    with pytest.raises(AnswerError) as refused:
        agent._server().call("GET", "/v1/nothing")
    assert refused.value.status == 404


def test_a_new_certificate_brings_a_new_context(agent):
    agent.step()
    before, certificate = stored(agent)["client_id"], identity(agent)[0].read_bytes()
    agent.renew()
    assert identity(agent)[0].read_bytes() != certificate
    agent.step()
    assert stored(agent)["client_id"] != before


def test_the_context_outlives_the_agent_and_no_number_is_used_again(agent):
    agent.step()
    first = stored(agent)
    used = agent._server()._line.session.context.sender_sequence_number
    assert used <= first["next"] <= used + AHEAD
    assert (agent.settings.folder / "oscore.json").stat().st_mode & 0o77 == 0
    agent.close()
    again = Agent(agent.settings)
    again.step()
    assert stored(again)["client_id"] == first["client_id"]
    assert again._server()._line.session.context.sender_sequence_number > first["next"], (
        "what was written ahead is skipped"
    )
    again.close()


def test_a_context_that_the_server_has_taken_back_or_heard_further_is_replaced(story, agent):
    agent.step()
    first = stored(agent)
    agent.close()
    # An old copy of the disk: its numbers were used already.
    path = agent.settings.folder / "oscore.json"
    path.write_text(json.dumps({**first, "next": 0}))
    assert b"next" in agent._server().call("GET", "/v1/poll").body
    assert stored(agent)["client_id"] != first["client_id"]
    # One that the server has never heard of.
    agent.close()
    path.write_text(json.dumps({**stored(agent), "client_id": "0102030405"}))
    assert b"next" in agent._server().call("GET", "/v1/poll").body
    assert stored(agent)["client_id"] not in {first["client_id"], "0102030405"}
    # And one that is no context at all.
    agent.close()
    path.write_text("{}")
    assert b"next" in agent._server().call("GET", "/v1/poll").body


def test_loss_and_repetition_on_the_way_harm_nothing(agent):
    agent.step()
    plain = agent._server().call("GET", "/v1/metadata/1.root.json").body
    relay, path = Lossy(stored(agent)["port"]), agent.settings.folder / "oscore.json"
    agent.close()
    path.write_text(json.dumps({**stored(agent), "port": relay.front.getsockname()[1]}))
    try:
        for _ in range(6):
            assert b"next" in agent._server().call("GET", "/v1/poll").body
        assert agent._server().call("GET", "/v1/metadata/1.root.json").body == plain
        assert relay.lost > 2
    finally:
        agent.close()
        relay.close()


def test_it_hears_at_once_when_something_waits(story, agent):
    hears_at_once(story, agent, ("identify", "run-self-test"))


def test_a_revoked_device_gets_no_answer_and_no_new_context(story, agent):
    agent.step()
    before, key = stored(agent)["client_id"], story.device(agent.settings.name)["id"]
    fingerprint = story.rest.get(f"/certificates?device={key}")["results"][0]["fingerprint"]
    story.rest.post(f"/certificates/{fingerprint}/revoke", {"reason": "keyCompromise"})

    def refused():
        try:
            agent._server().call("GET", "/v1/poll")
        except (TransportError, AnswerError) as error:
            return str(error)
        return ""

    eventually(refused)
    for _ in range(3):
        time.sleep(0.5)
        assert refused()
    path = agent.settings.folder / "oscore.json"
    assert not path.exists() or stored(agent)["client_id"] == before, "no new context was given"
