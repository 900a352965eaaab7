"""The reference agent over coaps://: the same agent, the same server, another transport."""

import socket
import threading
import time
import uuid
from dataclasses import replace

import pytest

from fleet.agent.agent import Agent
from fleet.agent.coap import CoapTransport
from fleet.agent.errors import AnswerError, TransportError
from fleet.management.quickstart import material
from tests.factories.story import eventually, identity
from tests.peers.operator import Operator
from tests.peers.pki import self_signed

pytestmark = [pytest.mark.peer, pytest.mark.xdist_group("listeners")]
BOARD = "coap-agent-board"


@pytest.fixture(scope="module")
def operator(story, tmp_path_factory):
    made = Operator(story, tmp_path_factory.mktemp("coap-operator"))
    made.board(BOARD)
    return made


@pytest.fixture
def agent(story, operator, tmp_path):
    """Return an agent that got its certificate over HTTPS and speaks CoAP from then on."""
    first = story.agent(f"coap-agent-{uuid.uuid4().hex[:6]}", tmp_path / "disk", BOARD)
    first.close()
    made = Agent(replace(first.settings, server=f"coaps://localhost:{story.settings['FLEET_COAP_PORT']}"))
    yield made
    made.close()


def test_it_installs_an_update(story, operator, agent, tmp_path):
    archive = material.fetch_archives()["uflash==1.1.0"]
    made = material.build_firmware(story.folder / "offline", tmp_path / "made", archive, "3.1.0", 31)
    kind = {"board": BOARD, "form": "mcuboot", "name": f"coap-{uuid.uuid4().hex[:6]}", "component": "app"}
    bundle = operator.upload(made.files["app.bin"].read_bytes(), "3.1.0", counter=31, **kind)
    rollout = operator.roll_out(operator.release(bundle))
    eventually(lambda: operator.progress(rollout)["groups"].get("offered"))
    eventually(lambda: agent.step() and agent.components().get("app", {}).get("version") == "3.1.0", 60)
    assert agent.components()["app"]["confirmed"]
    eventually(lambda: operator.progress(rollout)["groups"].get("finished"))


def test_a_download_goes_on_where_it_stopped(story, operator, agent, tmp_path):
    archive = material.fetch_archives()["uflash==1.1.0"]
    made = material.build_firmware(story.folder / "offline", tmp_path / "made", archive, "3.2.0", 32)
    data = made.files["app.bin"].read_bytes()
    kind = {"board": BOARD, "form": "mcuboot", "name": f"coap-{uuid.uuid4().hex[:6]}", "component": "app"}
    rollout = operator.roll_out(operator.release(operator.upload(data, "3.2.0", counter=32, **kind)))
    eventually(lambda: operator.progress(rollout)["groups"].get("offered"))
    inactive = agent.slots("app").inactive
    inactive.parent.mkdir(parents=True, exist_ok=True)
    import hashlib

    digest = hashlib.sha256(data).hexdigest()
    inactive.with_suffix(".part").write_bytes(data[:5000])
    inactive.with_suffix(".part-of").write_text(digest)
    line = agent._server()
    chunks = list(line.stream(f"/v1/blob/{digest}", len(data), {"Range": "bytes=5000-", "If-Range": f'"{digest}"'}))
    assert {status for status, _ in chunks} == {206}
    assert b"".join(chunk for _, chunk in chunks) == data[5000:]
    other = list(
        line.stream(f"/v1/blob/{digest}", len(data), {"Range": "bytes=5000-", "If-Range": '"' + "0" * 64 + '"'})
    )
    assert other[0][0] == 200
    assert b"".join(chunk for _, chunk in other) == data
    eventually(lambda: agent.step() and agent.components().get("app", {}).get("version") == "3.2.0", 60)


def test_it_reports_renews_obeys_and_syncs(story, agent):
    before = identity(agent)[0].read_bytes()
    agent.report()
    agent.telemetry({"temp_c": 20.0}, [("tcp", 443, "wan")])
    agent.renew()
    assert identity(agent)[0].read_bytes() != before
    key = story.device(agent.settings.name)["id"]
    story.rest.post(f"/devices/{key}/commands", {"kind": "collect-log", "reason": "slow"})
    story.rest.patch(f"/devices/{key}/twin", {"sample_s": 7}, {"If-Match": '"d0"'})
    eventually(lambda: agent.step() and agent.state.get("config"))
    eventually(lambda: agent.step() and story.rest.get(f"/devices/{key}/logs")["results"])
    twin = story.rest.get(f"/devices/{key}/twin")
    assert (twin["reported"]["config"], twin["delta"]) == ({"sample_s": 7}, {})
    with pytest.raises(AnswerError) as refused:
        agent._server().call("GET", "/v1/nothing")
    assert refused.value.status == 404


def state_of(story, command):
    return next(row["state"] for row in story.rest.get("/commands")["results"] if row["id"] == command["id"])


def hears_at_once(story, agent, kinds):
    """Let an agent live that would sleep for a minute, and give it commands one after the other."""
    key, stopped = story.device(agent.settings.name)["id"], threading.Event()

    def live():
        while not stopped.is_set():
            agent.step()
            agent.rest(60, stopped)

    thread = threading.Thread(target=live)
    thread.start()
    try:
        for kind in kinds:
            time.sleep(1.5)
            made = story.rest.post(f"/devices/{key}/commands", {"kind": kind, "reason": "which one"})
            eventually(lambda made=made: state_of(story, made) == "done", 30, kind)
    finally:
        stopped.set()
        thread.join()


def test_an_agent_that_rests_hears_at_once_when_something_waits(story, agent):
    hears_at_once(story, agent, ("identify", "run-self-test", "collect-log"))


class Lossy:
    """A UDP relay that loses, repeats and delays datagrams, by a fixed pattern."""

    def __init__(self, port):
        self.port, self.lost, self.stopped = port, 0, False
        self.front = socket.socket(type=socket.SOCK_DGRAM)
        self.front.bind(("127.0.0.1", 0))
        self.front.settimeout(0.2)
        self.back = socket.socket(type=socket.SOCK_DGRAM)
        self.back.connect(("127.0.0.1", port))
        self.back.settimeout(0.2)
        self.client, self.seen = None, 0
        self.threads = [threading.Thread(target=one) for one in (self._up, self._down)]
        for thread in self.threads:
            thread.start()

    def _fate(self, send):
        self.seen += 1
        if self.seen % 7 == 3:
            self.lost += 1
            return
        send()
        if self.seen % 5 == 0:
            send()

    def _up(self):
        while not self.stopped:
            try:
                data, self.client = self.front.recvfrom(65536)
            except TimeoutError:
                continue
            self._fate(lambda data=data: self.back.send(data))

    def _down(self):
        while not self.stopped:
            try:
                data = self.back.recv(65536)
            except (TimeoutError, ConnectionRefusedError):
                continue
            self._fate(lambda data=data: self.front.sendto(data, self.client))

    def close(self):
        self.stopped = True
        for thread in self.threads:
            thread.join()
        self.front.close()
        self.back.close()


def test_loss_and_repetition_on_the_way_harm_nothing(story, agent):
    relay = Lossy(int(story.settings["FLEET_COAP_PORT"]))
    line = CoapTransport(f"coaps://localhost:{relay.front.getsockname()[1]}", story.anchor, identity(agent))
    try:
        for _ in range(6):
            assert b"next" in line.call("GET", "/v1/poll").body
        root = line.call("GET", "/v1/metadata/1.root.json").body
        assert root == agent._server().call("GET", "/v1/metadata/1.root.json").body
        assert relay.lost > 2
    finally:
        line.close()
        relay.close()


def test_another_server_is_not_believed(story, agent, tmp_path):
    foreign, _ = self_signed(tmp_path, "foreign")
    port = story.settings["FLEET_COAP_PORT"]
    for server, anchor in ((f"coaps://localhost:{port}", foreign), (f"coaps://127.0.0.2:{port}", story.anchor)):
        line = CoapTransport(server, anchor, identity(agent))
        with pytest.raises(TransportError):
            line.call("GET", "/v1/poll")


def test_a_token_is_not_given_to_anybody_over_coap(story, agent, tmp_path):
    bare = Agent(replace(agent.settings, folder=tmp_path / "fresh"))
    with pytest.raises(TransportError, match="--enrol-at"):
        bare.enrol()
