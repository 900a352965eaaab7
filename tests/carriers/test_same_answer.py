"""Every resource over every carrier gives the same answer and the matching code: success, refusal and garbage."""

import json
import re

import cbor2
import pytest

from tests.factories.story import identity
from tests.peers.test_coap import CLIENTS, Client

pytestmark = [pytest.mark.peer, pytest.mark.xdist_group("doors")]
FORMS = {"60": "application/cbor", "50": "application/json"}
CODES = {"2.05": 200, "2.04": 200, "4.00": 400, "4.01": 401, "4.03": 403, "4.04": 404, "4.05": 405, "4.13": 413}
NONCE = b"n" * 16
#: what differs from one answer to the next: ids, times, signatures
VOLATILE = {"id", "signatures", "issued", "expires", "version", "now", "head", "nonce", "next"}
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
    return story.agent("carrier-device", tmp_path_factory.mktemp("carrier"))


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
    return body


def by_https(story, agent, method, path, form, body):
    status, _, answer = story.call(method, path, body or None, {"Content-Type": FORMS[form]}, identity(agent))
    return status, decoded(answer, form)


def by_coap(client, method, path, form, body):
    """Return the status that HTTP would have, and the body."""
    answer, said = client.ask(path, "-t", form, method=method.lower(), payload=body, check=False)
    code = re.search(r"^([45]\.\d\d)", said, re.MULTILINE)
    if code is None:
        return 204 if not answer else 200, decoded(answer, form)
    return CODES[code[1]], None


@pytest.fixture(scope="module")
def child(story, agent):
    """Return the address part by which the device speaks, as a gateway, for one behind it."""
    body = {"name": "carrier-child", "hardware": "vib-node", "gateway": agent.settings.name}
    return f"?for={story.rest.post('/devices', body)['id']}"


@pytest.mark.parametrize(
    ("scheme", "speaks_for"), [("coaps", "itself"), ("coaps+tcp", "itself"), ("coaps", "its child")]
)
@pytest.mark.parametrize(("method", "path", "form", "body"), CASES, ids=lambda value: str(value)[:30])
def test_carriers_agree(story, agent, child, tmp_path, scheme, speaks_for, method, path, form, body):
    path += child if speaks_for == "its child" else ""
    client = Client(story, tmp_path, CLIENTS[0], agent, scheme)
    status, answer = by_https(story, agent, method, path, form, body)
    found, same = by_coap(client, method, path, form, body)
    assert found == status
    if status == 200:
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
