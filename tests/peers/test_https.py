"""curl and openssl s_client at the device gateway, over TLS 1.2 and 1.3: who gets in, and with what."""

import json
import subprocess
import uuid

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from tests.factories.story import eventually, identity
from tests.peers.pki import self_signed
from tests.peers.programs import require

pytestmark = [pytest.mark.peer, pytest.mark.xdist_group("listeners")]
VERSIONS = ("1.2", "1.3")
JSON = ("-H", "Accept: application/json")


@pytest.fixture(scope="module")
def agent(story, tmp_path_factory):
    return story.agent(f"https-{uuid.uuid4().hex[:6]}", tmp_path_factory.mktemp("https"))


def curl(story, path, *arguments, who=None, version="1.3"):
    """Return status and body."""
    command = [require("curl"), "-s", "--noproxy", "*", f"--tlsv{version}", "--tls-max", version]
    command += ["--cacert", str(story.anchor), "-w", "\n%{http_code}", *arguments]
    command += ["--cert", str(who[0]), "--key", str(who[1])] if who else []
    done = subprocess.run(
        [*command, f"https://localhost:{story.device_port}{path}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    body, _, status = done.stdout.rpartition("\n")
    return int(status or 0), body


@pytest.mark.parametrize("version", VERSIONS)
def test_curl_polls(story, agent, version):
    status, body = curl(story, "/v1/poll", *JSON, who=identity(agent), version=version)
    assert (status, json.loads(body)) == (200, {"next": 2})


@pytest.mark.parametrize("version", VERSIONS)
def test_curl_without_a_certificate_a_strangers_or_a_revoked_one_gets_nothing(story, version, tmp_path):
    assert curl(story, "/v1/poll", *JSON, version=version)[0] == 401
    status, body = curl(story, "/v1/poll", *JSON, who=self_signed(tmp_path, "rogue"), version=version)
    assert (status, body) == (0, "")
    own = story.agent(f"https-{uuid.uuid4().hex[:6]}", tmp_path / "disk")
    leaf = x509.load_pem_x509_certificate(identity(own)[0].read_bytes())
    story.rest.post(f"/certificates/{leaf.fingerprint(hashes.SHA256()).hex()}/revoke", {"reason": "keyCompromise"})
    assert eventually(lambda: curl(story, "/v1/poll", *JSON, who=identity(own), version=version)[0] == 403, 2)


@pytest.mark.parametrize("version", VERSIONS)
def test_chunked_bodies_and_expectations_are_understood(story, agent, version):
    body = ("-X", "POST", "-H", "Content-Type: application/json", "--data", "{}")
    for further in ((), ("-H", "Transfer-Encoding: chunked"), ("-H", "Expect: 100-continue")):
        status, said = curl(story, "/v1/poll", *body, *further, who=identity(agent), version=version)
        assert (status, json.loads(said)) == (200, {"next": 2})


@pytest.mark.parametrize("version", VERSIONS)
def test_s_client_gets_an_answer_and_is_asked_for_a_certificate(story, agent, version):
    chain, key = identity(agent)
    command = [require("openssl"), "s_client", "-connect", f"localhost:{story.device_port}", "-servername", "localhost"]
    command += [f"-tls{version.replace('.', '_')}", "-CAfile", str(story.anchor), "-verify_return_error"]
    command += ["-cert", str(chain), "-key", str(key), "-cert_chain", str(chain), "-ign_eof"]
    asked = "GET /v1/poll HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\nConnection: close\r\n\r\n"
    done = subprocess.run(command, input=asked, capture_output=True, text=True, check=False, timeout=30)
    assert "Verify return code: 0 (ok)" in done.stdout
    assert "Requested Signature Algorithms" in done.stdout, "a certificate is asked for"
    assert "HTTP/1.1 200 OK" in done.stdout
    assert f"TLSv{version}" in done.stdout


@pytest.mark.parametrize("version", ["1", "1_1"])
def test_older_versions_are_refused(story, agent, version):
    command = [require("openssl"), "s_client", "-connect", f"localhost:{story.device_port}", f"-tls{version}"]
    done = subprocess.run(command, input="", capture_output=True, text=True, check=False, timeout=30)
    assert "Cipher is (NONE)" in done.stdout
