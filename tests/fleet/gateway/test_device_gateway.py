"""The device gateway over real TLS: who gets in, to what, and what garbage gets."""

import base64
import http.client
import json
import ssl
import time

import cbor2
import pytest

from fleet.agent.errors import AnswerError
from tests.factories.devices import csr
from tests.factories.story import eventually, identity

pytestmark = pytest.mark.xdist_group("story")
CBOR = {"Content-Type": "application/cbor"}
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def agent(story, tmp_path_factory):
    return story.agent("gateway-1", tmp_path_factory.mktemp("gateway-1"))


def basic(secret):
    return {"Authorization": "Basic " + base64.b64encode(f"x:{secret}".encode()).decode()}


def test_both_tls_versions_carry_a_poll(story, agent):
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        status, _, body = story.call("POST", "/v1/poll", cbor2.dumps({}), CBOR, identity(agent), version)
        assert status == 200
        assert cbor2.loads(body) == {"next": 2}
    status, _, body = story.call("GET", "/v1/poll", identity=identity(agent))
    assert (status, cbor2.loads(body)) == (200, {"next": 2})


def test_the_same_in_json(story, agent):
    status, _, body = story.call("POST", "/v1/poll", b"{}", JSON, identity(agent))
    assert (status, json.loads(body)) == (200, {"next": 2})


@pytest.mark.parametrize("path", ["poll", "director", "report", "telemetry", "time"])
def test_without_a_certificate_nothing_is_answered(story, path):
    status, _, body = story.call("POST", f"/v1/{path}", b"{}", JSON)
    assert status == 401
    assert json.loads(body)["error"] == "unauthenticated"


@pytest.mark.parametrize("text", ["a\\u0000b", "\\ud800", "\\udfff"])
def test_text_that_no_database_holds_is_refused_but_in_logs_replaced(story, agent, text):
    body = b'{"reason": "command", "text": "%s"}' % text.encode()
    assert story.call("POST", "/v1/log", body, JSON, identity(agent))[0] == 403, "read, and nobody asked for it"
    status, _, answer = story.call("PUT", "/v1/twin", b'{"config": {"a": "%s"}}' % text.encode(), JSON, identity(agent))
    assert (status, json.loads(answer)["error"]) == (400, "invalid")
    assert "`config.a`" in json.loads(answer)["detail"]
    status, _, answer = story.call(
        "POST", "/v1/log", cbor2.dumps({"reason": "a\0b", "text": ""}), CBOR, identity(agent)
    )
    assert status == 400
    pair = b'{"reason": "command", "text": "\\ud83d\\ude00"}'
    assert story.call("POST", "/v1/log", pair, JSON, identity(agent))[0] == 403, "a whole character is text"


@pytest.mark.parametrize("path", ["director", "report", "telemetry", "time", "poll"])
@pytest.mark.parametrize("form", [CBOR, JSON])
@pytest.mark.parametrize("body", [b"\xff\xfe", b"{", b"[1]", b"\x9f" * 2000, b'{"nonce": 1}'])
def test_garbage_gets_a_clear_refusal(story, agent, path, form, body):
    status, _, answer = story.call("POST", f"/v1/{path}", body, form, identity(agent))
    assert status == 400
    said = json.loads(answer) if form is JSON else cbor2.loads(answer)
    assert said["error"] == "invalid"
    assert said["id"]


def test_unknown_paths_and_methods(story, agent):
    assert story.call("GET", "/v1/nothing", identity=identity(agent))[0] == 404
    assert story.call("PUT", "/v1/poll", identity=identity(agent))[0] == 405
    assert story.call("GET", "/", identity=identity(agent))[0] == 404
    assert story.call("GET", "/v1/metadata/../../keys", identity=identity(agent))[0] == 404


def test_a_body_that_is_too_long_is_cut_off(story, agent):
    status, headers, _ = story.call("POST", "/v1/report", b"x" * 100_000, CBOR, identity(agent))
    assert status == 413
    assert headers["connection"] == "close"


def test_a_chunked_body_is_read_whole(story, agent):
    context = ssl.create_default_context(cafile=story.anchor)
    context.load_cert_chain(*identity(agent))
    connection = http.client.HTTPSConnection("localhost", story.device_port, context=context, timeout=10)
    connection.request("POST", "/v1/time", iter([b'{"nonce": "', b"00" * 16, b'"}']), JSON, encode_chunked=True)
    answer = json.loads(connection.getresponse().read())
    connection.close()
    assert answer["signed"]["nonce"] == "00" * 16


def test_a_certificate_of_another_ca_does_not_get_through_the_handshake(story, tmp_path):
    from tests.peers.pki import self_signed

    with pytest.raises((ssl.SSLError, ConnectionError, http.client.HTTPException)):
        story.call("POST", "/v1/poll", b"", CBOR, self_signed(tmp_path, "gateway-1"))


def test_a_revoked_certificate_is_refused_on_an_open_connection_at_once(story, tmp_path):
    agent = story.agent("gateway-revoked", tmp_path)
    assert agent.step() > 0
    key = story.device("gateway-revoked")["id"]
    fingerprint = story.rest.get(f"/certificates?device={key}")["results"][0]["fingerprint"]
    line = agent._server()
    story.rest.post(f"/certificates/{fingerprint}/revoke", {"reason": "keyCompromise"})
    with pytest.raises(AnswerError) as refused:
        line.call("POST", "/v1/poll", cbor2.dumps({}), CBOR)
    assert refused.value.status == 403


def test_a_quarantined_device_gets_only_what_its_repair_needs(story, tmp_path):
    agent = story.agent("gateway-quarantined", tmp_path)
    agent.telemetry({"bytes_out": 1.0}, [])
    device = story.device("gateway-quarantined")
    story.rest.post(f"/devices/{device['id']}/quarantine", {"reason": "test"})
    for method, path, body in [
        ("POST", "/v1/poll", b"{}"),
        ("GET", "/v1/metadata/timestamp.json", None),
        ("POST", "/v1/director", json.dumps({"nonce": "00" * 16})),
        ("POST", "/v1/time", json.dumps({"nonce": "00" * 16})),
    ]:
        assert story.call(method, path, body, JSON, identity(agent))[0] == 200, path
    agent.report()
    batch = json.dumps({"seq": 1 << 50, "metrics": {}})
    assert story.call("POST", "/v1/telemetry", batch, JSON, identity(agent))[0] == 403
    request = base64.b64encode(csr("gateway-quarantined")[0])
    assert story.call("POST", "/.well-known/est/simplereenroll", request, {}, identity(agent))[0] == 403
    story.rest.post(f"/devices/{device['id']}/release", {"reason": "test"})
    agent.telemetry({"bytes_out": 1.0}, [])


def test_a_suspended_device_gets_nothing(story, tmp_path):
    agent = story.agent("gateway-suspended", tmp_path)
    device = story.device("gateway-suspended")
    story.rest.post(f"/devices/{device['id']}/suspend")
    assert story.call("POST", "/v1/poll", b"{}", JSON, identity(agent))[0] == 403


def test_blobs_are_for_those_to_whom_they_are_assigned(story, agent):
    bundle = story.rest.get("/bundles")["results"][0]
    image = story.rest.get(f"/bundles/{bundle['id']}")
    assert image["digest"]
    for digest in ("0" * 64, bundle["digest"]):
        assert story.call("GET", f"/v1/blob/{digest}", identity=identity(agent))[0] == 404


def test_cacerts_needs_no_certificate_and_is_one_line(story):
    status, headers, body = story.call("GET", "/.well-known/est/cacerts")
    assert status == 200
    assert headers["content-type"].startswith("application/pkcs7-mime")
    assert b"\n" not in body
    labelled = story.call("GET", "/.well-known/est/default/cacerts")
    assert labelled[2] == body
    assert story.call("GET", "/.well-known/est/other/cacerts")[0] == 404


def test_a_wrong_or_used_token_is_refused_and_nothing_is_stored(story):
    before = len(list(story.rest.all("/devices?limit=500")))
    request = base64.b64encode(csr("est-1")[0])
    path = "/.well-known/est/simpleenroll"
    for headers in ({}, basic("met_wrong"), {"Authorization": "Bearer nothing"}):
        status, fields, body = story.call("POST", path, request, headers)
        assert status == 401
        assert "www-authenticate" in fields
        assert body.endswith(b"\n")
    secret = story.token("est-1")
    assert story.call("POST", path, request, basic(secret))[0] == 200
    assert story.call("POST", path, request, basic(secret))[0] == 200
    assert story.call("POST", path, base64.b64encode(csr("est-1")[0]), basic(secret))[0] == 401
    assert len(list(story.rest.all("/devices?limit=500"))) == before + 1


def test_requests_that_are_no_requests_are_refused_as_text(story):
    secret = story.token("est-2")
    for body in (b"%%%", base64.b64encode(b"no csr"), b"", b"A" * 20_000):
        status, headers, said = story.call("POST", "/.well-known/est/simpleenroll", body, basic(secret))
        assert status == 400
        assert headers["content-type"].startswith("text/plain")
        assert said.strip()
    spaced = base64.encodebytes(csr("est-2")[0]).replace(b"\n", b"\r\n \t")
    assert story.call("POST", "/.well-known/est/simpleenroll", spaced, basic(secret))[0] == 200


def test_a_device_renews_when_its_profile_says_so(story, tmp_path):
    story.rest.post(
        "/certificate-profiles", {"name": "daily", "validity_days": 10, "renewal_days": 9, "jitter_hours": 1}
    )
    made = story.rest.post("/enrolment-tokens", {"hardware": "vib-node", "devices": ["est-due"], "profile": "daily"})
    agent = story.agent("est-due", tmp_path, token=made["results"][0]["secret"])
    first = identity(agent)[0].read_bytes()
    agent.step()
    assert identity(agent)[0].read_bytes() == first, "the first day there is nothing to renew"
    # A day later, by changing what the profile says instead of the clock.
    story.rest.post("/certificate-profiles", {"name": "daily", "validity_days": 400, "renewal_days": 390})
    time.sleep(1.2)  # a profile is known to all workers within a second
    agent.step()
    assert identity(agent)[0].read_bytes() != first


def test_a_device_renews_its_certificate(story, tmp_path):
    agent = story.agent("est-renew", tmp_path)
    before = (tmp_path / "chain.pem").read_bytes()
    agent.renew()
    assert (tmp_path / "chain.pem").read_bytes() != before
    assert agent.step() > 0


def test_presence_reaches_the_registry(story, agent):
    agent.step()
    eventually(
        lambda: any(
            row["name"] == "gateway-1" for row in story.rest.get("/devices?presence=online&q=gateway-1")["results"]
        )
    )


def test_the_api_refuses_malformed_and_foreign_input_with_problem_documents(story):
    headers = {"Authorization": f"Bearer {story.rest.token}", "Content-Type": "application/json"}
    port = story.operator_port
    for body, status in ((b"{", 400), (b'{"name": "x"}', 422), (b'{"name":"x","vendor":"y","colour":1}', 422)):
        got, fields, said = story.call("POST", "/api/v1/hardware-models", body, headers, port=port)
        assert got == status
        assert fields["content-type"].startswith("application/problem+json")
        assert json.loads(said)["detail"]
    assert story.call("GET", "/api/v1/devices", port=port)[0] == 401
    wrong = {"Authorization": "Bearer mst_wrong"}
    assert story.call("GET", "/api/v1/devices", headers=wrong, port=port)[0] == 401
    missing = "/api/v1/devices/00000000-0000-7000-8000-000000000000"
    assert story.call("GET", missing, headers=headers, port=port)[0] == 404
    assert story.call("GET", "/api/v1/devices?limit=9999", headers=headers, port=port)[0] == 422


def test_the_console_is_strict(story):
    status, fields, _ = story.call("GET", "/sign-in", port=story.operator_port)
    assert status == 200
    policy = fields["content-security-policy"]
    assert "unsafe" not in policy
    assert "default-src 'self'" in policy
    assert "max-age" in fields["strict-transport-security"]
    assert story.call("GET", "/devices", port=story.operator_port)[0] == 302
