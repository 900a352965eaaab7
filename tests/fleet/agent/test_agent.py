"""The agent goes on whatever the server says; it waits longer when there is trouble."""

import hashlib
import json
import threading
import time

import cbor2
import pytest

from fleet.agent.agent import LEAST_WAIT, Agent
from fleet.agent.commands import MISMATCH
from fleet.agent.polls import MOST_PAUSE
from fleet.agent.slots import SlotImage
from fleet.agent.state import Settings
from fleet.agent.transport import Transport
from fleet.officer import authority
from tests.fleet.agent.adversary import DEVICE, HARDWARE
from tests.regressions import regression


class Enrolled(Agent):
    """An agent whose identity stands without a certificate, for a server without TLS."""

    enrolled, public_id = True, DEVICE

    def _server(self):
        if self._connections._regular is None:
            self._connections._regular = Transport(self.settings.server, None)
        return self._connections._regular


@pytest.fixture
def agent(adversary, tmp_path):
    made = Enrolled(Settings(tmp_path / "disk", adversary.address, tmp_path, adversary.root_file, HARDWARE, "a"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return authority.make_root_ca(tmp_path_factory.mktemp("root"), "Root").read_text()


@pytest.mark.parametrize(
    "answer",
    [b"", b"\xff", b"\x80", cbor2.dumps({}), cbor2.dumps({"next": "soon"}), cbor2.dumps({"next": 1, "update": []}),
     cbor2.dumps([1]), b"\xbf\x61\x61\x61", b"\x9f" * 2000, cbor2.dumps({"next": float("nan")})],
)  # fmt: skip
def test_nonsense_from_the_server_does_not_end_the_agent(adversary, agent, answer):
    adversary.routes["/v1/poll"] = answer
    assert 0.2 <= agent.step() <= 2 * 2 * LEAST_WAIT


def heard_reports(adversary, agent):
    """Return the list of what the server hears from an agent from now on."""
    reports = []

    def heard(handler, body):
        reports.append(cbor2.loads(cbor2.loads(body)["payload"]))
        handler.whole(b"")

    agent._key.sign = lambda _: b""
    agent.anchors = list
    adversary.routes["/v1/report"] = heard
    return reports


@regression("R4", "bytes that change on the disk before the device starts")
def test_a_changed_image_is_reported_after_the_next_start(adversary, agent):
    reports = heard_reports(adversary, agent)
    agent.provision("app", b"installed", SlotImage("1.0.0", hashlib.sha256(b"installed").hexdigest(), 1))
    agent.slots("app").image.write_bytes(b"something")
    adversary.routes["/v1/poll"] = cbor2.dumps({"next": 1})
    agent.step()
    agent.step()
    told = [one["reason"] for one in reports if one.get("state") == "refused"]
    assert len(told) == 1
    assert MISMATCH in told[0]


@regression("R4", "a configuration that changes on the disk while the device runs")
def test_a_changed_configuration_is_reported_and_obeyed_by_nobody(adversary, agent, root):
    reports = heard_reports(adversary, agent)
    document = {"schema": 1, "version": "1.0.0", "anchors": [root]}
    data = json.dumps(document).encode()
    agent.provision("config", data, SlotImage("1.0.0", hashlib.sha256(data).hexdigest(), 1))
    adversary.routes["/v1/poll"] = cbor2.dumps({"next": 1})
    agent.step()
    assert reports == []
    agent.slots("config").image.write_text(json.dumps({**document, "wipe": [DEVICE]}))
    agent._followed = False  # as after a restart
    agent.step()
    agent.step()
    assert not agent.erased
    assert ["its factory settings" in one["reason"] for one in reports if one.get("state") == "refused"] == [True]


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


def test_a_server_that_breaks_every_rule_does_not_end_the_agent(adversary, agent):
    adversary.routes["/v1/poll"] = cbor2.dumps({"next": 1, "twin": 5})
    adversary.routes["/v1/twin"] = lambda handler, body: handler.whole(
        cbor2.dumps({"config": {}, "version": 5, "components": {}}) if not body else b""
    )
    agent.state.put(looked_at=2**40)
    assert agent.step() > 0  # an answer without its ETag
    adversary.routes["/v1/poll"] = lambda handler, _: (handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\nx"),
                                                      handler.connection.close())  # fmt: skip
    assert agent.step() > 0  # an answer that breaks off


def ordered(adversary, commands, **further):
    """Let the stolen director order something, and hear what the device answers."""
    answers = {}
    adversary.direct(rows=[], commands=commands, **further)
    adversary.routes["/v1/command"] = adversary.routes["/v1/director"]
    for one in commands if isinstance(commands, list) else []:
        if isinstance(one, dict) and isinstance(one.get("id"), str):
            path = f"/v1/command/{one['id']}"
            adversary.routes[path] = lambda handler, body, path=path: (
                answers.__setitem__(path, cbor2.loads(body)), handler.whole(b"")
            )  # fmt: skip
    adversary.routes["/v1/poll"] = cbor2.dumps({"next": 1, "command": True})
    return answers


def word(number=1, kind="reboot", expires="2999-01-01T00:00:00Z"):
    return {"id": f"01930000-0000-7000-8000-{number:012}", "kind": kind, "expires": expires}


@pytest.mark.parametrize(
    "commands",
    [{}, [1], [{}], [{"id": 1, "kind": "reboot", "expires": "2999-01-01T00:00:00Z"}], [word(kind=7)],
     [word(expires="soon")], [word() | {"id": "../../v1/report"}], "reboot"],
)  # fmt: skip
def test_malformed_commands_do_not_end_the_agent_and_are_not_done(adversary, agent, commands):
    ordered(adversary, commands)
    assert agent.step() > 0
    assert not agent.restart_wanted


def test_a_stolen_server_reboots_a_device_within_its_budget_only(adversary, agent):
    done = []
    for number in range(6):
        agent.restart_wanted = False
        answers = ordered(adversary, [word(number)])
        agent.step()
        done += [answer["state"] for answer in answers.values()]
    assert done == ["done"] * 3 + ["refused"] * 3


def test_a_command_that_is_over_or_signed_by_nobody_is_not_done(adversary, agent):
    ordered(adversary, [word(expires="2020-01-01T00:00:00Z")])
    agent.step()
    assert not agent.restart_wanted
    ordered(adversary, [word()], signer=adversary.online["timestamp"])
    agent.step()
    assert not agent.restart_wanted


@pytest.mark.parametrize(
    "answer",
    [b"", b"\xff", cbor2.dumps([]), cbor2.dumps({}), cbor2.dumps({"config": 1}), cbor2.dumps({"config": {"server": "x"}}),
     cbor2.dumps({"config": {"anchors": []}}), cbor2.dumps({"config": {"a": "x" * 9000}}), b"\xa1" * 100],
)  # fmt: skip
def test_a_twin_that_makes_no_sense_or_reaches_too_far_changes_nothing(adversary, agent, answer):
    adversary.routes["/v1/poll"] = cbor2.dumps({"next": 1, "twin": 5})
    adversary.routes["/v1/twin"] = answer
    assert agent.step() > 0
    assert agent.state.get("config") is None


def test_a_damaged_configuration_on_the_disk_does_not_end_the_agent(agent):
    data = b"{}"
    agent.provision("config", data, SlotImage("1.0.0", hashlib.sha256(data).hexdigest(), 1))
    began = time.monotonic()
    agent.rest(0.3, threading.Event())
    assert 0.2 < time.monotonic() - began < 5
