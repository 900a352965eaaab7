"""The agent goes on whatever the server says; it waits longer when there is trouble."""

import cbor2
import pytest

from fleet.agent.agent import LEAST_WAIT, MOST_PAUSE, Agent
from fleet.agent.state import Settings
from fleet.agent.transport import Transport
from tests.fleet.agent.adversary import DEVICE, HARDWARE, Adversary


@pytest.fixture
def adversary(tmp_path):
    made = Adversary(tmp_path / "server")
    yield made
    made.close()


class Enrolled(Agent):
    """An agent whose identity stands without a certificate, for a server without TLS."""

    enrolled, public_id = True, DEVICE

    def _line(self):
        if self._transport is None:
            self._transport = Transport(self.settings.server, None)
        return self._transport


@pytest.fixture
def agent(adversary, tmp_path):
    made = Enrolled(Settings(tmp_path / "disk", adversary.address, tmp_path, adversary.root_file, HARDWARE, "a"))
    yield made
    made.close()


@pytest.mark.parametrize(
    "answer",
    [b"", b"\xff", b"\x80", cbor2.dumps({}), cbor2.dumps({"next": "soon"}), cbor2.dumps({"next": 1, "update": []}),
     cbor2.dumps([1]), b"\xbf\x61\x61\x61", b"\x9f" * 2000, cbor2.dumps({"next": float("nan")})],
)  # fmt: skip
def test_nonsense_from_the_server_does_not_end_the_agent(adversary, agent, answer):
    adversary.routes["/v1/poll"] = answer
    assert 0.2 <= agent.step() <= 2 * 2 * LEAST_WAIT


def test_trouble_makes_the_waits_longer(agent, adversary):
    adversary.routes["/v1/poll"] = lambda handler, _: handler.whole(b"", 503)
    waits = [agent.step() for _ in range(5)]
    assert waits == sorted(waits)
    assert waits[-1] > 20


def test_no_server_sends_a_device_to_sleep_for_ever(adversary, agent):
    adversary.routes["/v1/poll"] = cbor2.dumps({"next": 1e300})
    assert agent.step() <= MOST_PAUSE * 1.2


def test_jitter_keeps_devices_apart(adversary, agent):
    adversary.routes["/v1/poll"] = cbor2.dumps({"next": 100})
    waits = [agent.step() for _ in range(10)]
    assert len(set(waits)) == 10
    assert all(80 <= one <= 120 for one in waits)
