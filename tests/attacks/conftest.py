"""A thief's server, and a real agent that it tries its luck with."""

import cbor2
import pytest

from fleet.agent.agent import Agent
from fleet.agent.errors import AnswerError, TransportError
from fleet.agent.slots import SlotImage
from fleet.agent.state import Settings
from fleet.agent.transport import Transport
from fleet.officer import authority
from tests.fleet.agent.adversary import DEVICE, HARDWARE, Adversary, image

OLD = image(b"factory" * 100)


class Victim(Agent):
    """The reference agent, enrolled, speaking plain HTTP: TLS is no help against the server itself."""

    enrolled, public_id = True, DEVICE

    def __init__(self, settings, thief):
        super().__init__(settings)
        self.told = []
        thief.routes["/v1/report"] = self._hear
        self.provision("app", OLD, SlotImage("0.9.0", self.digest(OLD), 2))

    @staticmethod
    def digest(data):
        import hashlib

        return hashlib.sha256(data).hexdigest()

    def _hear(self, handler, body):
        self.told.append(cbor2.loads(cbor2.loads(body)["payload"]))
        handler.whole(b"")

    def _server(self):
        if self._connections._regular is None:
            self._connections._regular = Transport(self.settings.server, None)
        return self._connections._regular

    def tries(self, action=7):
        """Follow the offer of an action; return what was reported at last, and why."""
        self.told.clear()
        self.state.put(refused_action=None)
        try:
            self.update(action)
        except (TransportError, AnswerError) as error:
            return "unreachable", str(error)
        if not self.told or "state" not in self.told[-1]:
            return "nothing", ""
        return self.told[-1]["state"], self.told[-1]["reason"]

    def looks(self):
        """Look at what is signed though nothing waits; return what was reported."""
        self.told.clear()
        self.state.put(looked_at=0)
        self.look()
        return [(one.get("state"), one.get("reason")) for one in self.told]

    @property
    def installed(self):
        """Return what runs as the component app."""
        return self.slots("app").read_running()


@pytest.fixture
def thief(tmp_path):
    """Return a server in a thief's hands: every online key, no officer's key but where a test signs as people do."""
    made = Adversary(tmp_path / "server")
    yield made
    made.close()


@pytest.fixture
def victim(thief, tmp_path):
    """Return a device that has a factory image, and has seen the honest state of things."""
    anchor = authority.make_root_ca(tmp_path / "anchor", "Anchor")
    made = Victim(Settings(tmp_path / "disk", thief.address, anchor, thief.root_file, HARDWARE, "victim"), thief)
    assert made.looks() == []
    yield made
    made.close()


@pytest.fixture
def refused(victim):
    """Return a check that an offer is refused for a reason, and that the old image runs on."""

    def check(words, state="refused"):
        said, reason = victim.tries()
        assert said == state, (said, reason)
        assert words in reason
        assert victim.installed == OLD

    return check
