"""OpenSSL and GnuTLS ask about certificates; what is revoked is refused at once, on open connections too."""

import base64
import http.client
import socket
import ssl
import subprocess
import urllib.request
import uuid

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from tests.factories.story import eventually, identity
from tests.peers.programs import require

pytestmark = [pytest.mark.peer, pytest.mark.xdist_group("story")]
PEM, DER = serialization.Encoding.PEM, serialization.Encoding.DER


@pytest.fixture
def leaf(story, tmp_path):
    """Return an agent with its certificate and the CA's, in files of the folder."""
    agent = story.agent(f"status-{uuid.uuid4().hex[:8]}", tmp_path / "disk")
    chain = x509.load_pem_x509_certificates(identity(agent)[0].read_bytes())
    (tmp_path / "leaf.pem").write_bytes(chain[0].public_bytes(PEM))
    (tmp_path / "ca.pem").write_bytes(chain[1].public_bytes(PEM))
    return agent, chain[0], tmp_path


def places(certificate):
    """Return where a certificate's list, responder and issuer are told."""
    point = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value[0]
    access = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    found = {one.access_method._name: one.access_location.value for one in access}
    return point.full_name[0].value, found["OCSP"], found["caIssuers"]


def fetch(url):
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read()


def revoke(story, certificate, reason="keyCompromise"):
    fingerprint = certificate.fingerprint(certificate.signature_hash_algorithm).hex()
    story.rest.post(f"/certificates/{fingerprint}/revoke", {"reason": reason})


def openssl(folder, *arguments):
    done = subprocess.run(
        [require("openssl"), *map(str, arguments)], cwd=folder, capture_output=True, text=True, check=False, timeout=30
    )
    return done.stdout + done.stderr


def listed(folder, certificate):
    data = fetch(places(certificate)[0])
    (folder / "list.pem").write_bytes(x509.load_der_x509_crl(data).public_bytes(PEM))
    command = ("verify", "-crl_check", "-partial_chain", "-CAfile", "ca.pem", "-CRLfile", "list.pem", "leaf.pem")
    return openssl(folder, *command)


def test_openssl_verifies_with_the_shard_that_the_certificate_names(story, leaf):
    _, certificate, folder = leaf
    eventually(lambda: "OK" in listed(folder, certificate))
    revoke(story, certificate)
    eventually(lambda: "certificate revoked" in listed(folder, certificate), 5)


def test_openssl_asks_by_ocsp_with_and_without_a_nonce(story, leaf):
    _, certificate, folder = leaf
    base = ("ocsp", "-issuer", "ca.pem", "-CAfile", story.anchor, "-url", places(certificate)[1])
    for further in ((), ("-no_nonce",), ("-sha256",)):
        said = openssl(folder, *base, *further, "-cert", "leaf.pem")
        assert "leaf.pem: good" in said, said
        assert "Response verify OK" in said, said
    revoke(story, certificate)
    said = openssl(folder, *base, "-cert", "leaf.pem")
    assert "leaf.pem: revoked" in said
    assert "keyCompromise" in said


def test_gnutls_asks_by_ocsp(story, leaf):
    _, certificate, folder = leaf
    command = [
        require("ocsptool"),
        f"--ask={places(certificate)[1]}",
        "--load-issuer",
        "ca.pem",
        "--load-cert",
        "leaf.pem",
        "--outfile",
        "a.der",
    ]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=30)
    assert "good" in (done.stdout + done.stderr).lower(), done.stdout + done.stderr
    revoke(story, certificate)
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=30)
    assert "revoked" in (done.stdout + done.stderr).lower()


def test_a_get_without_nonce_may_be_cached_and_a_post_may_not(leaf):
    _, certificate, folder = leaf
    openssl(folder, "ocsp", "-issuer", "ca.pem", "-no_nonce", "-cert", "leaf.pem", "-reqout", "r.der", "-noverify")
    url = places(certificate)[1]
    word = base64.b64encode((folder / "r.der").read_bytes()).decode()
    request = urllib.request.quote(word, safe="")
    with urllib.request.urlopen(f"{url}/{request}", timeout=10) as answer:
        headers = answer.headers
        assert answer.headers["Content-Type"] == "application/ocsp-response"
    assert "max-age=" in headers["Cache-Control"]
    assert headers["ETag"]
    assert headers["Expires"]
    posted = urllib.request.Request(url, (folder / "r.der").read_bytes(), {"Content-Type": "application/ocsp-request"})
    with urllib.request.urlopen(posted, timeout=10) as answer:
        assert answer.headers["Cache-Control"] == "no-store"


def test_the_issuer_is_fetched_where_the_certificate_says(leaf):
    _, certificate, folder = leaf
    above = x509.load_der_x509_certificate(fetch(places(certificate)[2]))
    certificate.verify_directly_issued_by(above)
    assert above.public_bytes(PEM) == (folder / "ca.pem").read_bytes()


@pytest.mark.parametrize("path", ["/", "/crl/", "/crl/../../fleet.env", "/crl/" + "0" * 40 + "/00.crl", "/ca/x.cer"])
def test_nothing_else_is_served(story, path):
    connection = http.client.HTTPConnection("127.0.0.1", int(story.settings["FLEET_STATUS_PORT"]), timeout=10)
    connection.putrequest("GET", path)
    connection.endheaders()
    assert connection.getresponse().status == 404
    connection.close()


def test_revocation_holds_at_once_on_open_and_resumed_connections(story, leaf):
    agent, certificate, _ = leaf
    context = ssl.create_default_context(cafile=story.anchor)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(*identity(agent))
    opened = http.client.HTTPSConnection("localhost", story.device_port, timeout=10, context=context)

    def poll(connection):
        connection.request("POST", "/v1/poll", b"\xa0", {"Content-Type": "application/cbor"})
        response = connection.getresponse()
        response.read()
        return response.status

    assert poll(opened) == 200
    session = opened.sock.session
    revoke(story, certificate)
    assert poll(opened) == 403
    opened.close()
    resumed = http.client.HTTPSConnection("localhost", story.device_port, timeout=10, context=context)
    sock = context.wrap_socket(
        socket.create_connection(("localhost", story.device_port)),
        server_hostname="localhost",
        session=session,
    )
    resumed.sock = sock
    assert sock.session_reused
    assert poll(resumed) == 403
    resumed.close()
