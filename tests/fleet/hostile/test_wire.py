"""Raw bytes against the real listeners, for each route of each of them: nothing answers 500, dies, or fills memory."""

import json
import os
import re
import uuid
from pathlib import Path

import pytest

from tests.factories.story import identity
from tests.fleet.api.test_roles import ACTS
from tests.fleet.hostile import datagrams, drive, routes, wire
from tests.regressions import regression

pytestmark = pytest.mark.xdist_group("story")
#: requests a route; 0 for all
SEEDED = int(os.environ.get("MUSTER_HOSTILE_WIRE", "1"))
MOST_GROWTH_MB = 120
SOMEWHERE = "01930000-0000-7000-8000-000000000000"
CRASH = re.compile(r'Traceback|"level": "(error|critical)"|passed all checks|a request failed')


class Wire:
    """Sends hostile bytes to the listeners of a story; counts them and what went wrong."""

    def __init__(self, story, agent, most, seed):
        self.story, self.agent, self.most = story, agent, most
        self.dice, self.sent, self.wrong = drive.shuffled(seed), {}, []

    def run(self):
        """Send to every route of every listener."""
        port = {
            name: int(self.story.settings[f"FLEET_{name}_PORT"]) for name in ("OPERATOR", "DEVICE", "STATUS", "COAP")
        }
        token = (self.story.folder / "secrets" / "quickstart-token").read_bytes().strip()
        anchor, proof = self.story.anchor, identity(self.agent)
        operator = wire.over_tls(port["OPERATOR"], anchor)
        self._http("operator", routes.operator([act[:3] for act in ACTS]), operator, b"Authorization: Bearer " + token)
        self._http("device", routes.device(), wire.over_tls(port["DEVICE"], anchor, proof))
        self._http("status", routes.status(), wire.over_tcp(port["STATUS"]))
        self._streams(wire.over_tls(port["COAP"], anchor, proof, ("coap",)))
        self._datagrams(port["COAP"], proof)

    def _drawn(self, named):
        """Return some of what is named, or all of it."""
        names = sorted(named)
        return self.dice.sample(names, min(self.most, len(names))) if self.most else names

    def _note(self, listener, said):
        self.sent[listener] = self.sent.get(listener, 0) + 1
        if said:
            self.wrong.append(f"{listener} {said}")

    def _http(self, listener, found, connect, *fields):
        methods = {}
        for one in found:
            if one.path not in drive.SLOW:
                methods.setdefault(_path(one.path, self.agent), set()).add(one.method)
        for path, known in sorted(methods.items()):
            for method in sorted(known) if not self.most else [self.dice.choice(sorted(known))]:
                request = (method.encode(), path.encode(), b"localhost", *fields)
                self._whole(listener, connect, f"{method} {path}", wire.whole(*request))
                halves = wire.halves(*request)
                for name in self._drawn(halves)[: (self.most and 1) or None]:
                    wire.hang_up(connect, halves[name])
                    self._note(listener, "")

    def _whole(self, listener, connect, route, named):
        for name in self._drawn(named):
            self._note(listener, wire.trouble(connect, f"{route}: {name}", named[name]))

    def _streams(self, connect):
        for route in routes.coap():
            code, options, payload = datagrams.options_of(route.method, _path(route.path, self.agent))
            named = datagrams.over_tcp(code, datagrams.hostile(options, payload))
            for name in self._drawn(named):
                wire.hang_up(connect, named[name])
                self._note("coaps+tcp", "")

    def _datagrams(self, port, proof):
        line = wire.Association(port, proof)
        for route in routes.coap():
            code, options, payload = datagrams.options_of(route.method, _path(route.path, self.agent))
            named = datagrams.over_udp(code, datagrams.hostile(options, payload))
            for name in self._drawn(named):
                came = line.ask(named[name], wire.GLANCE)
                self._note("coaps", f"{route} {name}: 5.00" if came[1:2] == b"\xa0" else "")
        line.close()


def _path(path, agent):
    path = re.sub(r"\{[a-z_]*\}", SOMEWHERE, path)
    return path.replace("DEVICE", agent.settings.name).replace("DOMAIN", "default")


def logged(folder):
    """Return how long each log is."""
    return {path: path.stat().st_size for path in (folder / "log").glob("*") if path.is_file()}


def crashes(folder, before):
    """Return lines of the logs since then that say that something failed."""
    found = []
    for path in logged(folder):
        with path.open("rb") as file:
            file.seek(before.get(path, 0))
            found += [line[:500] for line in file.read().decode(errors="replace").splitlines() if CRASH.search(line)]
    return found


def alive(story, agent):
    """Return what the listeners say to requests that are fine."""
    proof = identity(agent)
    connect = wire.over_tcp(int(story.settings["FLEET_STATUS_PORT"]))
    status = wire.answer(
        connect, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", wire.PATIENCE
    )
    line = wire.Association(int(story.settings["FLEET_COAP_PORT"]), proof)
    polled = line.ask(b"\x42\x01\x33\x33tk\xb2v1\x04poll", 5)
    line.close()
    return {
        "operator": bool(story.rest.get("/devices?q=x")["results"] is not None),
        "device": story.call("GET", "/v1/poll", identity=proof)[0],
        "status": int(status[9:12]),
        "coap": polled[1:2],
    }


def judge(story, agent, most, seed):
    """Send to the listeners of a story; return counts and what is wrong."""
    good = {"operator": True, "device": 200, "status": 200, "coap": b"\x45"}
    assert alive(story, agent) == good
    before, held = logged(story.folder), wire.resident_mb(story.folder)
    sender = Wire(story, agent, most, seed)
    sender.run()
    wrong = sender.wrong + crashes(story.folder, before)
    now = wire.resident_mb(story.folder)
    if set(now) != set(held):
        wrong.append(f"processes have changed: {sorted(held)} became {sorted(now)}")
    grown = {name: now[name] - held.get(name, 0) for name in now}
    wrong += [f"{name} grew by {megabytes} MB" for name, megabytes in grown.items() if megabytes > MOST_GROWTH_MB]
    if (found := alive(story, agent)) != good:
        wrong.append(f"good requests afterwards: {found}")
    return sender.sent, max(grown.values()), wrong


@regression(
    "B8", "HTTP/0.9 to 2.0, Hosts, forms of the target, chunks and lengths, on each route of each real listener"
)
@regression(
    "R2", "endless and half heads, half bodies, half chunks and half messages, on each route of each real listener"
)
@regression("B2", "options and paths of CoAP that are no text, over DTLS and TLS, on each route")
def test_hostile_bytes_on_the_wire_break_no_listener(story, tmp_path):
    agent = story.agent(f"wire-{uuid.uuid4().hex[:6]}", tmp_path / "wire")
    story.stop()
    story.start(FLEET_STRANGERS_A_MINUTE="1000000")  # so that the handlers are reached, not the limit
    try:
        sent, grown, wrong = judge(story, agent, SEEDED, 14)
    finally:
        story.stop()
        story.start()
    if target := os.environ.get("MUSTER_HOSTILE_RESULT"):
        Path(target).write_text(
            json.dumps({"sent": sum(sent.values()), "of": sent, "growth_mb": grown, "wrong": wrong})
        )
    assert wrong == [], f"{len(wrong)} of {sent}"
