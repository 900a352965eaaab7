"""Behind nginx and HAProxy by the documented recipes: the right device gets through, and nobody can pretend."""

import base64
import http.client
import json
import os
import ssl
import subprocess
import uuid
from pathlib import Path
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from tests.factories.ports import lease_port
from tests.factories.story import eventually, identity
from tests.peers.pki import self_signed
from tests.peers.programs import require

pytestmark = [pytest.mark.peer, pytest.mark.xdist_group("listeners")]
RECIPES = Path(__file__).resolve().parents[2] / "docs" / "examples"
ACCEPT = {"Accept": "application/json"}


@pytest.fixture
def agent(story, tmp_path):
    return story.agent(f"proxied-{uuid.uuid4().hex[:6]}", tmp_path / "disk")


def filled(recipe, folder, words):
    text = (RECIPES / recipe).read_text()
    for word, value in words.items():
        text = text.replace(word, str(value))
    path = folder / recipe
    path.write_text(text)
    return path


@pytest.fixture(params=["nginx", "haproxy"])
def proxy(request, story, agent, tmp_path):
    """Run a proxy by its recipe before a server that lists it; return its port and a client's context maker."""
    folder, port = tmp_path / "proxy", lease_port()
    folder.mkdir()
    certificate, key = self_signed(folder, "localhost")
    (folder / "server.pem").write_bytes(certificate.read_bytes() + key.read_bytes())
    above = x509.load_pem_x509_certificates(identity(agent)[0].read_bytes())[1:]
    anchors = folder / "anchors.pem"
    anchors.write_bytes(
        story.anchor.read_bytes() + b"".join(one.public_bytes(serialization.Encoding.PEM) for one in above)
    )
    words = {
        "SERVER_CERT": certificate, "SERVER_KEY": key, "SERVER_PEM": folder / "server.pem", "ANCHORS": anchors,
        "ISSUING": anchors, "ROOT": story.anchor, "FOLDER": folder, "PORT": port, "GATEWAY": story.device_port,
    }  # fmt: skip
    if request.param == "nginx":
        path = filled("nginx.conf", folder, words)
        path.write_text(("user root;\n" if os.geteuid() == 0 else "") + path.read_text())
        command = [require("nginx"), "-e", folder / "nginx.err", "-c", path]
    else:
        command = [require("haproxy"), "-db", "-f", filled("haproxy.cfg", folder, words)]
    story.stop()
    story.start(FLEET_PROXIES="127.0.0.1", FLEET_PROXY_FORM={"nginx": "nginx", "haproxy": "rfc9440"}[request.param])
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([str(one) for one in command], stdout=log, stderr=log)
    try:
        eventually(lambda: asked(port, certificate, "/healthz")[0] == 200, trouble=(folder / "log").read_text())
        yield port, certificate
    finally:
        process.terminate()
        process.wait(10)
        story.stop()
        story.start()


def asked(port, certificate, path, who=None, **headers):
    """Return status and body of one request to the proxy."""
    context = ssl.create_default_context(cafile=certificate)
    context.check_hostname = False
    if who:
        context.load_cert_chain(*who)
    line = http.client.HTTPSConnection("localhost", port, timeout=10, context=context)
    try:
        line.request("GET", path, headers={**ACCEPT, **headers})
        answer = line.getresponse()
        return answer.status, answer.read()
    except OSError:
        return 0, b""
    finally:
        line.close()


def test_devices_get_through_and_nobody_pretends(story, agent, proxy, tmp_path):
    status, body = asked(*proxy, "/v1/poll", identity(agent))
    assert (status, json.loads(body)) == (200, {"next": 2})
    assert asked(*proxy, "/v1/poll")[0] == 401
    chain = identity(agent)[0]
    leaf = x509.load_pem_x509_certificates(chain.read_bytes())[0]
    der, pem = (leaf.public_bytes(form) for form in (serialization.Encoding.DER, serialization.Encoding.PEM))
    claims = (f":{base64.b64encode(der).decode()}:", quote(pem.decode()))
    for name in ("Client-Cert", "client-cert", "Client_Cert", "X-Client-Cert", "X-SSL-Client-Cert", "SSL-Client-Cert"):
        for claim in claims:
            assert asked(*proxy, "/v1/poll", **{name: claim})[0] in {401, 400, 403}, name
    rogue = self_signed(tmp_path, "rogue")
    assert asked(*proxy, "/v1/poll", rogue)[0] in {0, 400, 403, 401, 503}
    # What belongs to a device stays its own, whatever it claims beside it.
    other = story.agent(f"other-{uuid.uuid4().hex[:6]}", tmp_path / "other")
    status, _ = asked(*proxy, "/v1/poll", identity(other), **{"Client-Cert": claims[0]})
    assert status == 200
    fingerprint = leaf.fingerprint(hashes.SHA256()).hex()
    story.rest.post(f"/certificates/{fingerprint}/revoke", {"reason": "keyCompromise"})
    assert asked(*proxy, "/v1/poll", identity(agent))[0] == 403
    assert asked(*proxy, "/v1/poll", identity(other))[0] == 200


def test_nobody_becomes_a_listed_proxy_by_saying_so(story, agent):
    """X-Forwarded-For names who is behind a proxy; here it would name the proxy itself, before anybody has looked."""
    leaf = x509.load_pem_x509_certificates(identity(agent)[0].read_bytes())[0]
    claim = f":{base64.b64encode(leaf.public_bytes(serialization.Encoding.DER)).decode()}:"
    story.stop()
    story.start(FLEET_PROXIES="203.0.113.9", FLEET_PROXY_FORM="rfc9440")
    try:
        for name in ("X-Forwarded-For", "Forwarded", "X-Real-IP"):
            status, _, _ = story.call("GET", "/v1/poll", None, {"Client-Cert": claim, name: "203.0.113.9"})
            assert status == 403, name
    finally:
        story.stop()
        story.start()
