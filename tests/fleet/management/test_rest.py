"""The demo's client of the operator API: it trusts one root, repeats no write, and says what to do without an answer."""

import ipaddress
import json
import ssl
from contextlib import closing
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from django.test import RequestFactory

from fleet.management.quickstart.rest import Rest
from pki.kernel import clock
from pki.kernel.errors import ConflictError, DomainError, UnavailableError
from tests.factories.ports import lease_port
from tests.fleet.agent.adversary import Loopback


def _certified(folder, name):
    """Write the certificate and key of a server on 127.0.0.1; return the two files."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(clock.now() - timedelta(days=1))
    builder = builder.not_valid_after(clock.now() + timedelta(days=9))
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    leaf = builder.add_extension(names, critical=False).sign(key, hashes.SHA256())
    certificate, private = folder / f"{name}.pem", folder / f"{name}.key"
    certificate.write_bytes(leaf.public_bytes(serialization.Encoding.PEM))
    form, none = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    private.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, none))
    return certificate, private


@pytest.fixture
def served(tmp_path):
    """A server with TLS, and the client that trusts it."""
    pair = _certified(tmp_path, "server")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pair)
    server = Loopback(tls=context)
    rest = Rest(int(server.address.rsplit(":", 1)[1]), pair[0], "secret", host="127.0.0.1")
    yield server, rest
    rest.close()
    server.close()


def test_one_connection_carries_requests_with_the_token(served):
    server, rest = served
    peers = []

    def answer(handler, body):
        peers.append(handler.client_address)
        handler.whole(json.dumps({"said": json.loads(body) if body else None}).encode())

    server.routes["/api/v1/devices"] = answer
    assert rest.get("/devices") == {"said": None}
    assert rest.post("/devices", {"name": "a"}) == {"said": {"name": "a"}}
    assert len(set(peers)) == 1
    assert {fields["Authorization"] for _, fields in server.asked} == {"Bearer secret"}


def test_a_certificate_of_another_root_is_refused_before_the_token_is_sent(served, tmp_path):
    server, rest = served
    other, _ = _certified(tmp_path, "other")
    stranger = Rest(rest.port, other, "secret", host="127.0.0.1")
    with pytest.raises(UnavailableError, match=r"is not a server with a certificate of .*other\.pem.*Check who uses"):
        stranger.get("/devices")
    assert not server.asked


def test_a_server_that_does_not_run_is_named(tmp_path):
    certificate, _ = _certified(tmp_path, "server")
    port = lease_port()
    rest = Rest(port, certificate, "secret", host="127.0.0.1")
    with pytest.raises(UnavailableError, match=f"https://127.0.0.1:{port} does not answer: .*refused.*Check that"):
        rest.get("/devices")
    with pytest.raises(UnavailableError, match=r"did not become ready within 0 s .*See log/serve\.log"):
        rest.ready(0.3)


@pytest.mark.parametrize(("method", "sent"), [("get", 2), ("post", 1)])
def test_a_dropped_request_is_repeated_only_if_it_reads(served, method, sent):
    server, rest = served
    server.routes["/api/v1/devices"] = lambda handler, _: handler.connection.close()
    with pytest.raises(UnavailableError, match="does not answer"):
        getattr(rest, method)("/devices")
    assert len(server.asked) == sent


def test_no_redirect_is_followed_and_no_refusal_repeated(served):
    server, rest = served

    def moved(handler, _):
        handler.send_response(302)
        handler.send_header("Location", "/api/v1/elsewhere")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    def busy(handler, _):
        handler.send_response(503)
        handler.send_header("Retry-After", "30")
        handler.send_header("Content-Length", "18")
        handler.end_headers()
        handler.wfile.write(b'{"detail": "busy"}')

    server.routes["/api/v1/moved"] = moved
    server.routes["/api/v1/busy"] = busy
    server.routes["/api/v1/conflict"] = lambda handler, _: handler.whole(b'{"detail": "there"}', 409)
    server.routes["/api/v1/refused"] = lambda handler, _: handler.whole(b'{"detail": "no"}', 403)
    assert rest.get("/moved") is None
    with pytest.raises(DomainError, match="GET /busy returned 503: busy"):
        rest.get("/busy")
    with pytest.raises(ConflictError, match="there"):
        rest.post("/conflict")
    with pytest.raises(DomainError, match="GET /refused returned 403: no") as refused:
        rest.get("/refused")
    assert (refused.value.context["status"], refused.value.context["said"]) == (403, "no")
    assert [path for path, _ in server.asked] == [
        f"/api/v1/{name}" for name in ("moved", "busy", "conflict", "refused")
    ]


def test_an_upload_is_one_form_as_the_server_reads_it(served, tmp_path):
    server, rest = served
    (tmp_path / "app.bin").write_bytes(b"\r\n--payload" * 1000)
    (tmp_path / "größe.bin").write_bytes(b"")
    read = {}

    def answer(handler, body):
        request = RequestFactory().post("/", body, content_type=handler.headers["Content-Type"])
        with closing(request):
            files = request.FILES
            read.update({name: [(one.name, one.read()) for one in files.getlist(name)] for name in files})
        handler.whole(b'{"id": "1"}', 201)

    server.routes["/api/v1/bundles"] = answer
    names = ("app.bin", "größe.bin")
    assert rest.upload("/bundles", b'{"v": 1}', {name: tmp_path / name for name in names}) == {"id": "1"}
    assert read["manifest"] == [("bundle.json", b'{"v": 1}')]
    assert read["files"] == [(name, (tmp_path / name).read_bytes()) for name in names]
