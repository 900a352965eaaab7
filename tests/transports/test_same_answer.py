"""Every resource over every transport gives the same answer and the matching code: success, refusal and garbage."""

import json
import re
import time

import cbor2
import pytest

from pki.kernel.coap import tag_bytes
from tests.factories.story import identity
from tests.peers.test_coap import CLIENTS, Client

pytestmark = [pytest.mark.peer, pytest.mark.xdist_group("listeners")]
FORMS = {"60": "application/cbor", "50": "application/json"}
CODES = {
    "2.05": 200,
    "2.04": 200,
    "4.00": 400,
    "4.01": 401,
    "4.03": 403,
    "4.04": 404,
    "4.05": 405,
    "4.13": 413,
    "4.09": 409,
    "4.12": 412,
}
NONCE = b"n" * 16
#: what differs from one answer to the next: ids, times, signatures
VOLATILE = {"id", "signatures", "issued", "expires", "version", "now", "head", "nonce", "next", "newest"}
GARBAGE = [b"\xff\xfe", b"[1]", b"\x9f" * 2000, cbor2.dumps({"nonce": 1}), cbor2.dumps([1])]
CASES = [
    ("POST", "/v1/poll", "60", cbor2.dumps({})),
    ("POST", "/v1/poll", "50", b"{}"),
    ("GET", "/v1/poll", "60", b""),
    ("POST", "/v1/director", "60", cbor2.dumps({"nonce": NONCE})),
    ("POST", "/v1/director", "50", json.dumps({"nonce": NONCE.hex()}).encode()),
    ("POST", "/v1/director", "60", cbor2.dumps({"nonce": b"short"})),
    ("POST", "/v1/time", "60", cbor2.dumps({"nonce": NONCE})),
    ("GET", "/v1/metadata/timestamp.json", "60", b""),
    ("GET", "/v1/metadata/1.root.json", "60", b""),
    ("GET", "/v1/metadata/nothing.json", "60", b""),
    ("GET", f"/v1/blob/{'0' * 64}", "60", b""),
    ("GET", "/v1/blob/none", "60", b""),
    ("GET", "/v1/blob/image", "60", b""),
    ("GET", "/v1/manifest", "60", b""),
    ("POST", "/v1/command", "60", cbor2.dumps({"nonce": NONCE})),
    ("POST", "/v1/command/01930000-0000-7000-8000-000000000000", "60", cbor2.dumps({"state": "done"})),
    ("POST", "/v1/command/nothing", "60", cbor2.dumps({"state": "done"})),
    ("GET", "/v1/twin", "60", b""),
    ("PUT", "/v1/twin", "60", cbor2.dumps({"config": []})),
    ("POST", "/v1/log", "60", cbor2.dumps({"reason": "failure", "text": "x"})),
    ("POST", "/v1/log", "50", b'{"reason": 1}'),
    ("POST", "/v1/telemetry", "60", cbor2.dumps({"seq": 0})),
    ("POST", "/v1/report", "60", cbor2.dumps({"payload": b"x", "signature": b"y"})),
    ("GET", "/v1/report", "60", b""),
    ("GET", "/v1/nothing", "60", b""),
    ("GET", "/nothing", "60", b""),
    *(
        ("POST", f"/v1/{name}", "60", body)
        for name in ("poll", "director", "report", "time", "command", "log", "telemetry")
        for body in GARBAGE[:3]
    ),
]


@pytest.fixture(scope="module")
def agent(story, tmp_path_factory):
    return story.agent("transport-device", tmp_path_factory.mktemp("transport"))


def plain(value):
    """Return an answer without what differs each time."""
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items() if key not in VOLATILE}
    return [plain(one) for one in value] if isinstance(value, list) else value


def decoded(body, form):
    if not body:
        return None
    for read in (json.loads, cbor2.loads) if form == "50" or body[:1] == b"{" else (cbor2.loads,):
        try:
            return plain(read(body))
        except (ValueError, EOFError):
            continue
    return body.strip()


def by_https(story, agent, method, path, form, body):
    status, _, answer = story.call(method, path, body or None, {"Content-Type": FORMS[form]}, identity(agent))
    return status, decoded(answer, form)


def by_coap(client, method, path, form, body, *further):
    """Return the status that HTTP would have, and the body: libcoap's client tells every message when asked to."""
    answer, said = client.ask(path, "-t", form, "-v", "7", *further, method=method.lower(), payload=body, check=False)
    codes = list(re.finditer(r"^v:\S+ .*?c:([245]\.\d\d)", said, re.MULTILINE))
    assert codes, said
    answer = answer or shown(said[codes[-1].end() :])
    status = CODES[codes[-1][1]]
    return 204 if status == 200 and not answer else status, decoded(answer, form)


def shown(said):
    """Return the body of a message as the client shows it: what is text in quotes, the rest in hex."""
    text = re.match(r"[^\n]*\] :: '([^']*)'", said)
    data = re.search(r"^<<([0-9a-f]+)>>$", said, re.MULTILINE)
    return text[1].replace("\\x0A", "\n").encode() if text else bytes.fromhex(data[1]) if data else b""


@pytest.fixture(scope="module")
def child(story, agent):
    """Return the address part by which the device speaks, as a gateway, for one behind it."""
    body = {"name": "transport-child", "hardware": "vib-node", "gateway": agent.settings.name}
    return f"?for={story.rest.post('/devices', body)['id']}"


@pytest.mark.parametrize(
    ("scheme", "speaks_for"),
    [("coaps", "itself"), ("coaps+tcp", "itself"), ("coaps", "its child"), ("coaps+tcp", "its child")],
)
@pytest.mark.parametrize(("method", "path", "form", "body"), CASES, ids=lambda value: str(value)[:30])
def test_carriers_agree(story, agent, child, tmp_path, scheme, speaks_for, method, path, form, body):
    path += child if speaks_for == "its child" else ""
    client = Client(story, tmp_path, CLIENTS[0], agent, scheme)
    status, answer = by_https(story, agent, method, path, form, body)
    found, same = by_coap(client, method, path, form, body)
    assert found == status
    assert same == answer


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "poll"), ("POST", "director"), ("POST", "report"), ("GET", "twin")]
)
def test_a_gateway_speaks_for_nobody_else(story, agent, tmp_path, method, path):
    stranger = f"/v1/{path}?for={story.device('vib-node')['id']}"
    body = cbor2.dumps({"nonce": NONCE}) if method == "POST" else b""
    client = Client(story, tmp_path, CLIENTS[0], agent)
    assert by_https(story, agent, method, stranger, "60", body)[0] == 403
    assert by_coap(client, method, stranger, "60", body)[0] == 403


def test_a_child_has_its_own_twin_and_presence(story, agent, child):
    headers = {"Content-Type": "application/json", "If-Match": '"r0"'}
    status, _, _ = story.call("PUT", f"/v1/twin{child}", b'{"config": {"gain": 3}}', headers, identity(agent))
    assert status == 200
    key = child.partition("=")[2]
    assert story.rest.get(f"/devices/{key}/twin")["reported"]["config"] == {"gain": 3}
    own = story.device(agent.settings.name)["id"]
    assert "config" not in story.rest.get(f"/devices/{own}/twin")["reported"]


class Way:
    """One way to say something: a transport, and for whom the device speaks."""

    def __init__(self, story, agent, folder, scheme, child):
        self.story, self.agent, self.scheme, self.child = story, agent, scheme, child
        self.client = Client(story, folder, CLIENTS[0], agent, scheme)
        self.key = child.partition("=")[2] or agent.public_id

    def say(self, method, path, body, tag=""):
        """Return the status in HTTP's numbers."""
        if self.scheme == "https":
            headers = {"Content-Type": FORMS["60"], **({"If-Match": tag} if tag else {})}
            return self.story.call(method, path + self.child, body, headers, identity(self.agent))[0]
        further = ("-O", f"1,0x{tag_bytes(tag).hex()}") if tag else ()
        return by_coap(self.client, method, path + self.child, "60", body, *further)[0]

    def command(self, kind):
        """Give the device that is meant a command; return its id."""
        made = self.story.rest.post(f"/devices/{self.key}/commands", {"kind": kind, "reason": "to see it"})
        return made["id"]


@pytest.mark.parametrize("speaks_for", ["itself", "its child"])
@pytest.mark.parametrize("scheme", ["https", "coaps", "coaps+tcp"])
def test_what_changes_something_is_taken_alike(story, agent, child, tmp_path, scheme, speaks_for):
    way = Way(story, agent, tmp_path, scheme, child if speaks_for == "its child" else "")
    number = time.time_ns()
    hours = 1 + ["https", "coaps", "coaps+tcp"].index(scheme)
    at = number // 1_000_000 - hours * 3_600_000  # a time of its own for each transport
    series = {"heap_free_b": {"at": at, "step": 1000, "values": [1.5, 2.5]}}
    assert way.say("POST", "/v1/telemetry", cbor2.dumps({"seq": number, "series": series})) == 204
    found = story.rest.get(f"/devices/{way.key}/telemetry?metric=heap_free_b&since={at}&until={at + 2000}")
    assert [value for _, value in found["values"]] == [1.5, 2.5]

    version = f"9.{number % 10_000}.0"
    components = {"app": {"version": version, "sha256": "00" * 32, "counter": 9, "confirmed": True}}
    body = {"device": way.key, "sequence": number, "at": 1, "components": components}
    if speaks_for == "itself":
        body["fork"] = bytes.fromhex(agent.state.get("fork"))  # it knows the fork test and gets its next token
    payload = cbor2.dumps(body)
    signed = cbor2.dumps({"payload": payload, "signature": agent._key.sign(payload)})
    assert way.say("POST", "/v1/report", signed) == (200 if speaks_for == "itself" else 204)
    assert way.say("POST", "/v1/report", signed) == 409
    twin = story.rest.get(f"/devices/{way.key}/twin")
    assert twin["reported"]["components"]["app"]["version"] == version

    config, tag = {"gain": number % 100}, f'"r{twin["reported_version"]}"'
    assert way.say("PUT", "/v1/twin", cbor2.dumps({"config": config}), '"r1"') == 412
    assert way.say("PUT", "/v1/twin", cbor2.dumps({"config": config}), tag) == 200
    assert story.rest.get(f"/devices/{way.key}/twin")["reported"]["config"] == config

    command = way.command("collect-log")
    assert way.say("POST", "/v1/log", cbor2.dumps({"reason": "command", "text": f"line {number}"})) == 204
    assert story.rest.get(f"/devices/{way.key}/logs")["results"][0]["text"] == f"line {number}"
    done = cbor2.dumps({"state": "done", "result": "sent"})
    assert way.say("POST", f"/v1/command/{command}", done) == 204
    [row] = [row for row in story.rest.get("/commands")["results"] if row["id"] == command]
    assert (row["state"], row["result"]) == ("done", "sent")
