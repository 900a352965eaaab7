"""What stays open: polls answered from memory, observations, resumed sessions; and all of it cut when the device is out."""

import contextlib
import hashlib
import http.client
import json
import shutil
import socket
import sqlite3
import ssl
import subprocess
import time
import uuid
from dataclasses import replace

import cbor2
import pytest
from aiocoap import Message
from aiocoap.numbers import codes, types
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from OpenSSL import SSL

from fleet.agent.agent import Agent
from fleet.agent.dtls import ClientAssociation
from fleet.agent.errors import AnswerError
from fleet.agent.slots import SlotImage
from tests.factories.story import eventually, identity
from tests.peers.operator import offered
from tests.peers.test_coap import CLIENTS, Client

pytestmark = [pytest.mark.peer, pytest.mark.xdist_group("listeners")]


@pytest.fixture
def own(story, tmp_path):
    return story.agent(f"open-{uuid.uuid4().hex[:6]}", tmp_path / "disk")


def context_of(story, agent, version=None):
    context = ssl.create_default_context(cafile=story.anchor)
    context.load_cert_chain(*identity(agent))
    if version:
        context.minimum_version = context.maximum_version = version
    return context


def revoke(story, agent):
    leaf = x509.load_pem_x509_certificate(identity(agent)[0].read_bytes())
    fingerprint = leaf.fingerprint(hashes.SHA256()).hex()
    story.rest.post(f"/certificates/{fingerprint}/revoke", {"reason": "keyCompromise"})


def poll(line, **headers):
    line.request("GET", "/v1/poll", headers=headers)
    answer = line.getresponse()
    return answer.status, dict(answer.getheaders()), answer.read()


def from_memory(line):
    """Return the answer once it comes from the poll cache, which alone forbids caching."""
    return eventually(lambda: next((got for got in [poll(line)] if "cache-control" in got[1]), None))


def test_an_idle_poll_is_answered_from_memory_as_the_ordinary_way_would(story, own):
    line = http.client.HTTPSConnection("localhost", story.device_port, timeout=20, context=context_of(story, own))
    status, _, body = from_memory(line)
    assert (status, cbor2.loads(body)) == (200, {"next": 2})
    assert json.loads(poll(line, Accept="application/json")[2]) == {"next": 2}
    # A field that means something sends it the ordinary way, with the same answer.
    status, headers, body = poll(line, **{"X-Anything": "1"})
    assert (status, cbor2.loads(body), "cache-control" in headers) == (200, {"next": 2}, False)
    line.close()


def test_polls_in_pieces_and_in_a_row_are_answered_one_by_one(story, own):
    raw = socket.create_connection(("127.0.0.1", story.device_port))
    with context_of(story, own).wrap_socket(raw, server_hostname="localhost") as line:
        request = b"GET /v1/poll HTTP/1.1\r\nHost: localhost\r\n\r\n"
        eventually(lambda: b"no-store" in ask(line, request))
        for part in (request[:9], request[9:30], request[30:]):
            line.sendall(part)
            time.sleep(0.05)
        assert answer(line).startswith(b"HTTP/1.1 200")
        line.sendall(request * 3)
        got = b""
        while got.count(b"\xa1dnext\x02") < 3:
            got += line.recv(4096)
        assert b"no-store" in ask(line, request)


def answer(line):
    """Return one whole answer to a poll, however many pieces it comes in."""
    got = b""
    while b"\xa1dnext\x02" not in got:
        got += line.recv(4096)
    return got


def ask(line, request):
    line.sendall(request)
    return answer(line)


def test_a_revoked_device_is_refused_and_its_open_connection_cut(story, own):
    line = http.client.HTTPSConnection("localhost", story.device_port, timeout=20, context=context_of(story, own))
    from_memory(line)
    revoke(story, own)
    told, deadline = time.monotonic(), time.monotonic() + 3
    seen = []
    while time.monotonic() < deadline and "cut" not in seen:
        try:
            seen.append(poll(line)[0])
        except (OSError, http.client.HTTPException):
            seen.append("cut")
    assert set(seen) <= {200, 403, 429, "cut"}
    assert seen[-1] == "cut"
    assert time.monotonic() - told < 2
    line.close()


def test_a_running_download_of_a_revoked_device_is_cut(story, tmp_path):
    agent, data = offered(story, tmp_path, "cut-node", 16 << 20)  # more than the sockets on both sides hold
    line = http.client.HTTPSConnection("localhost", story.device_port, timeout=30, context=context_of(story, agent))
    line.request("GET", f"/v1/blob/{hashlib.sha256(data).hexdigest()}")
    answer = line.getresponse()
    assert len(answer.read(20_000)) == 20_000
    revoke(story, agent)
    time.sleep(2)  # what is in the sockets by now arrives, and no more
    with pytest.raises((OSError, http.client.HTTPException)):
        answer.read()
    line.close()


@pytest.mark.parametrize("scheme", ["coaps", "coaps+tcp"])
def test_an_association_of_a_revoked_device_ends(story, own, scheme):
    port = int(story.settings["FLEET_COAP_PORT"])
    if scheme == "coaps":
        line = ClientAssociation(("localhost", port), story.anchor, identity(own))

        def ended():
            try:
                return line.receive(time.monotonic() + 0.1) and None
            except SSL.ZeroReturnError:
                return True

        made = Message(code=codes.GET, uri_path=("v1", "poll"), _mtype=types.CON, _mid=1, _token=b"a")
        line.send(made.encode())
        assert Message.decode(line.receive(time.monotonic() + 5)).code == codes.CONTENT
    else:
        context = context_of(story, own)
        context.set_alpn_protocols(["coap"])
        line = context.wrap_socket(socket.create_connection(("127.0.0.1", port)), server_hostname="localhost")
        line.settimeout(0.1)

        def ended():
            try:
                return not line.recv(4096)
            except TimeoutError:
                return False
            except OSError:
                return True

    assert not ended()
    told = time.monotonic()
    revoke(story, own)
    assert eventually(ended, 5)
    assert time.monotonic() - told < 2.5
    line.close()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_resumed_session_of_a_revoked_device_gets_nothing(story, own, version):
    context = context_of(story, own, version)

    def once(session=None):
        raw = socket.create_connection(("127.0.0.1", story.device_port))
        with context.wrap_socket(raw, server_hostname="localhost", session=session) as line:
            line.sendall(b"GET /v1/poll HTTP/1.1\r\nHost: localhost\r\n\r\n")
            said = line.recv(4096)
            return line.session, line.session_reused, int(said.split()[1])

    session, _, status = once()
    assert status == 200
    assert once(session)[1:] == (True, 200)
    revoke(story, own)
    assert eventually(lambda: next((one for one in [once(session)] if one[2] == 403), None), 1)[1], "within a second"


def observing(story, own, folder, seconds, program, scheme):
    """Start libcoap's client as an observer of the device's poll; JSON, so that it can be read."""
    client = Client(story, folder, program, own, scheme)
    command = [client.program, "-m", "get", "-s", str(seconds), "-B", str(seconds + 2), "-A", "50", "-v", "6"]
    command += ["-c", str(client.certificate), "-j", str(client.key)]
    command += ["-C", str(story.anchor), "-R", str(story.anchor), f"{client.url}/v1/poll"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.mark.parametrize(
    ("program", "scheme"), [*((one, "coaps") for one in CLIENTS), (CLIENTS[0], "coaps+tcp")], ids=" ".join
)
def test_an_observer_is_told_when_something_waits_and_cut_when_it_is_out(story, own, tmp_path, program, scheme):
    process = observing(story, own, tmp_path, 8, program, scheme)
    time.sleep(2)
    key = story.device(own.settings.name)["id"]
    story.rest.post(f"/devices/{key}/commands", {"kind": "identify", "reason": "which one is it"})
    time.sleep(1)
    revoke(story, own)
    said = process.communicate(timeout=20)[0]
    assert '{"next": 2}' in said, said
    assert '"command": true' in said, said
    assert said.index('{"next": 2}') < said.index('"command": true')
    assert "4.03" in said, said


def test_a_command_reaches_its_device_and_the_answer_comes_back(story, own):
    key = story.device(own.settings.name)["id"]
    made = story.rest.post(f"/devices/{key}/commands", {"kind": "run-self-test", "reason": "after the storm"})

    def answered():
        own.step()
        [row] = [row for row in story.rest.get("/commands")["results"] if row["id"] == made["id"]]
        return row if row["closed_at"] else None

    done = eventually(answered)
    assert (done["state"], done["result"]) == ("done", "all components pass")


def test_a_device_measures_itself_again_and_what_it_should_not_run_becomes_an_incident(story, tmp_path):
    agent = story.agent("attest-device", tmp_path / "disk")
    key, image = story.device("attest-device")["id"], b"what was installed"
    agent.provision("app", image, SlotImage("1.0.0", hashlib.sha256(image).hexdigest(), 1))

    def attested():
        made = story.rest.post(f"/devices/{key}/commands", {"kind": "re-attest", "reason": "after the break-in"})

        def answered():
            agent.step()
            [row] = [row for row in story.rest.get("/commands")["results"] if row["id"] == made["id"]]
            return row if row["closed_at"] else None

        return eventually(answered)

    def incidents():
        return [row for row in story.rest.get("/incidents?state=open")["results"] if row["device"] == "attest-device"]

    done = attested()
    assert (done["state"], done["result"]) == ("done", f"app {hashlib.sha256(image).hexdigest()}")
    assert not incidents()
    slot = next((tmp_path / "disk" / "slots" / "app").glob("slot-*.bin"))
    slot.write_bytes(b"what somebody put there")
    done = attested()
    assert done["state"] == "failed"
    assert done["result"].startswith("mismatch: app differs from the installed image")
    [incident] = eventually(incidents)
    assert "at re-attestation" in json.dumps(incident)
    agent.close()


def test_a_log_comes_on_request_only(story, own):
    key = story.device(own.settings.name)["id"]
    story.rest.post(f"/devices/{key}/commands", {"kind": "collect-log", "reason": "odd reboots"})
    [log] = eventually(lambda: own.step() and story.rest.get(f"/devices/{key}/logs")["results"])
    assert log["reason"] == "command"
    status, _, _ = story.call(
        "POST", "/v1/log", b'{"reason": "failure", "text": "x"}', {"Content-Type": "application/json"}, identity(own)
    )
    assert status == 403


def test_a_configuration_is_fetched_applied_and_reported_back(story, own):
    key = story.device(own.settings.name)["id"]
    story.rest.patch(f"/devices/{key}/twin", {"sample_s": 5}, {"If-Match": '"d0"'})
    eventually(lambda: own.step() and own.state.get("config"))
    assert own.state.get("config") == {"sample_s": 5}
    twin = story.rest.get(f"/devices/{key}/twin")
    assert (twin["reported"]["config"], twin["delta"], twin["config_fetched"]) == ({"sample_s": 5}, {}, True)
    tag = f'"d{twin["config_version"]}"'
    assert story.call("GET", "/v1/twin", headers={"If-None-Match": tag}, identity=identity(own))[0] == 304
    status, _, body = story.call(
        "PUT", "/v1/twin", b'{"config": {}}', {"Content-Type": "application/json"}, identity(own)
    )
    assert (status, json.loads(body)["error"]) == (428, "unconditional")


def test_an_expired_certificate_within_its_grace_opens_renewal_and_nothing_else(story, tmp_path):
    """As if the device had slept past its certificate's end: the row is set back in the server's own database."""
    name = f"late-{uuid.uuid4().hex[:6]}"
    profile = {"name": name, "validity_days": 30, "renewal_days": 3, "grace_days": 5}
    story.rest.post("/certificate-profiles", profile)
    made = story.rest.post("/enrolment-tokens", {"hardware": "vib-node", "devices": [name], "profile": name})
    own = story.agent(name, tmp_path / "disk", token=made["results"][0]["secret"])
    client = Client(story, tmp_path, CLIENTS[0], own)
    key = story.device(name)["id"]
    with contextlib.closing(sqlite3.connect(story.folder / "db" / "main.sqlite3", timeout=20)) as rows, rows:
        rows.execute("UPDATE pki_certificate SET not_after = datetime('now', '-1 day') WHERE subject_key = ?", [key])
        rows.execute("INSERT INTO pki_change (subject, at) VALUES (?, datetime('now'))", [key])
    eventually(lambda: story.call("GET", "/v1/poll", identity=identity(own))[0] == 403, 3)
    for method, path in (("POST", "/v1/director"), ("GET", "/v1/metadata/1.root.json"), ("GET", "/v1/twin")):
        assert story.call(method, path, identity=identity(own))[0] == 403
    assert "4.03" in client.ask("/v1/poll", check=False)[1]
    own.renew()
    assert story.call("GET", "/v1/poll", identity=identity(own))[0] == 200


def persistently(agent):
    """Report as an agent does: a number that was used up is followed by the next one."""
    for _ in range(3):
        with contextlib.suppress(AnswerError):
            return agent.report()
    return pytest.fail("no report was taken")


def test_a_copied_device_gives_itself_away(story, own, tmp_path):
    shutil.copytree(tmp_path / "disk", tmp_path / "copy")
    copy = Agent(replace(own.settings, folder=tmp_path / "copy"))
    story.agents.append(copy)
    persistently(own)
    persistently(copy)
    assert not story.device(own.settings.name)["quarantined"], "an answer may have got lost"
    persistently(own)
    assert eventually(lambda: story.device(own.settings.name)["quarantined"])
    key = story.device(own.settings.name)["id"]
    [found] = [one for one in story.rest.get("/incidents")["results"] if one["device"] == own.settings.name]
    assert "two devices" in found["explanation"]["text"]
    assert "repair" not in found["reaction"]
    assert story.rest.get(f"/devices/{key}")["quarantined"]
