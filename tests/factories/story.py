"""The whole story, told once a session by ``make demo``, and then its server again for other tests."""

import http.client
import json
import os
import ssl
import subprocess
import sys
import time
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pytest

from fleet.agent.agent import Agent
from fleet.agent.state import Settings
from fleet.management.quickstart.rest import Rest
from tests.architecture.sources import ROOT
from tests.factories.ports import lease_listeners
from tests.scheduling import group

DEVICES, SEED = 20, 7


@dataclass
class Story:
    """A set-up that has lived through the story.

    Args:
        folder: its FLEET_DIR.
        summary: what quickstart wrote at the end.
        seconds: how long ``make demo`` took.
    """

    folder: Path
    summary: dict
    seconds: float
    process: subprocess.Popen | None = field(default=None)
    agents: list = field(default_factory=list)

    @property
    def settings(self):
        lines = (self.folder / "fleet.env").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines)

    @property
    def operator_port(self):
        return int(self.settings["FLEET_OPERATOR_PORT"])

    @property
    def device_port(self):
        return int(self.settings["FLEET_DEVICE_PORT"])

    @property
    def anchor(self):
        return self.folder / "offline" / "root-ca" / "root-ca.pem"

    @property
    def server(self):
        return f"https://localhost:{self.device_port}"

    @cached_property
    def rest(self):
        return Rest(self.operator_port, self.anchor, (self.folder / "secrets" / "quickstart-token").read_text())

    def close(self):
        """Stop serving and drop every connection."""
        self.stop()
        self.rest.close()
        for agent in self.agents:
            agent.close()

    def manage(self, *arguments, check=True):
        """Run a command of the set-up by hand."""
        environment = {**os.environ, "FLEET_DIR": str(self.folder)}
        for name in ("DATABASE_URL", "TELEMETRY_DATABASE_URL"):
            environment.pop(name, None)
        command = [sys.executable, "manage.py", *map(str, arguments)]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert not (check and done.returncode), (arguments, done.returncode, done.stdout[-2000:], done.stderr[-2000:])
        return done

    def start(self, **settings):
        """Serve again, with other settings if they are given."""
        environment = {**os.environ, "FLEET_DIR": str(self.folder), "FLEET_DEVICE_WORKERS": "2", **settings}
        log = (self.folder / "log" / "serve-again.log").open("ab")
        command = [sys.executable, "manage.py", "serve"]
        self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
        log.close()
        self.rest.ready(40)

    def stop(self):
        """Stop serving."""
        if self.process:
            self.process.terminate()
            self.process.wait(timeout=40)
            self.process = None

    def call(self, method, path, body=None, headers=None, identity=None, tls=None, port=None):
        """Make one request at the device gateway; return status, headers, body."""
        context = ssl.create_default_context(cafile=self.anchor)
        if identity:
            context.load_cert_chain(*identity)
        if tls:
            context.minimum_version = context.maximum_version = tls
        port = port or self.device_port
        connection = http.client.HTTPSConnection("localhost", port, timeout=20, context=context)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()
        finally:
            connection.close()

    def token(self, name, hardware="vib-node"):
        """Return the secret of a new enrolment token."""
        made = self.rest.post("/enrolment-tokens", {"hardware": hardware, "devices": [name]})
        return made["results"][0]["secret"]

    def agent(self, name, folder, hardware="vib-node", token=None):
        """Return an agent that has enrolled under a new name."""
        models = {row["name"]: row["class_id"] for row in self.rest.get("/hardware-models")["results"]}
        root = self.folder / "offline" / "root.json"
        secret = self.token(name, hardware) if token is None else token
        agent = Agent(Settings(folder, self.server, self.anchor, root, models[hardware], name, secret))
        self.agents.append(agent)
        agent.enrol()
        return agent

    def device(self, name):
        """Return a device as the REST API shows it."""
        return self.rest.get(f"/devices?q={name}")["results"][0]


def identity(agent):
    """Return certificate chain and key files of an agent."""
    return agent.settings.folder / "chain.pem", agent.settings.folder / "device.key"


def eventually(check, seconds=60, trouble="it did not happen"):
    """Wait until ``check`` returns something true; return it."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := check():
            return found
        time.sleep(0.2)
    raise AssertionError(trouble)


def quickstart_environment():
    """Return the environment of a story with ports of its own, so that two runs on one machine do not meet."""
    kept = {name: value for name, value in os.environ.items() if name not in {"FLEET_DIR", "DATABASE_URL"}}
    return kept | lease_listeners()


@pytest.fixture(scope="session")
def told(tmp_path_factory):
    """Tell the story by the README's own command."""
    folder = tmp_path_factory.mktemp("story") / "set-up"
    summary = folder.parent / "summary.json"
    started = time.monotonic()
    command = ["make", "demo", "HEADLESS=1", f"DEVICES={DEVICES}", f"SEED={SEED}", f"DIR={folder}"]
    done = subprocess.run(
        [*command, f"SUMMARY={summary}"],
        cwd=ROOT, env=quickstart_environment(), capture_output=True, text=True, check=False, timeout=1800,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    return Story(folder, json.loads(summary.read_text()), time.monotonic() - started)


@pytest.fixture(scope="session")
def interrupted(tmp_path_factory):
    """Tell the story again, kill it in its middle, and go on by the same command."""
    folder = tmp_path_factory.mktemp("interrupted") / "set-up"
    environment, summaries = quickstart_environment(), [folder.parent / f"{name}.json" for name in ("first", "second")]

    def tell(summary):
        command = [sys.executable, "manage.py", "quickstart", "--headless", "--devices", str(DEVICES), "--seed", "3"]
        with summary.with_suffix(".log").open("wb") as log:
            return subprocess.Popen(
                [*command, "--dir", folder, "--summary", summary], cwd=ROOT, env=environment, stdout=log, stderr=log
            )

    started, first = time.monotonic(), tell(summaries[0])
    _await_words(summaries[0].with_suffix(".log"), "firmware-1.2.4: wave 25 % is open", first)
    first.kill()
    first.wait(timeout=10)
    assert not summaries[0].exists()
    again = tell(summaries[1])
    code = again.wait(timeout=1800)  # the quickstart itself gives up when nothing goes on
    assert code == 0, summaries[1].with_suffix(".log").read_text()[-3000:]
    return Story(folder, json.loads(summaries[1].read_text()), time.monotonic() - started)


def _await_words(log, words, process, seconds=150):
    """Wait until a log says something; give up when it has said nothing new for so many seconds."""
    length, heard = 0, time.monotonic()
    while words not in (text := log.read_text(errors="replace")):
        if len(text) > length:
            length, heard = len(text), time.monotonic()
        assert time.monotonic() - heard < seconds, text[-2000:]
        assert process.poll() is None, text[-2000:]
        time.sleep(0.1)


#: the group of the test that runs: half of the tests that need a set-up get one that was interrupted once
_GROUP = [""]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Remember for whom a story would be told."""
    _GROUP[0] = group(item.nodeid.partition("::")[0])


@pytest.fixture(scope="session")
def story(request):
    """Return a set-up with its server up; which one, the first test that asks decides by its group."""
    found = request.getfixturevalue("interrupted" if _GROUP[0] == "listeners" else "told")
    found.start()
    yield found
    found.close()
