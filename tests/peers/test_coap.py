"""libcoap's clients over DTLS and TLS with certificates: discovery, EST-coaps, polls, reports, files in blocks, refusals."""

import hashlib
import subprocess
import uuid
from pathlib import Path

import cbor2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs7
from cryptography.x509.oid import NameOID

from fleet.officer import authority
from tests.factories.story import eventually, identity
from tests.peers.operator import offered
from tests.peers.pki import self_signed
from tests.peers.programs import require
from tests.peers.test_est import idevid

pytestmark = [pytest.mark.peer, pytest.mark.xdist_group("listeners")]
CLIENTS = ("coap-client-openssl", "coap-client-gnutls")
CBOR, PKCS10 = "60", "286"


class Client:
    """One of libcoap's programs with a device's identity."""

    def __init__(self, story, folder, program, agent, scheme="coaps"):
        self.story, self.folder, self.program, self.scheme = story, folder, require(program), scheme
        chain, self.key = identity(agent)
        self.certificate = chain

    @property
    def url(self):
        return f"{self.scheme}://localhost:{self.story.settings['FLEET_COAP_PORT']}"

    def ask(self, path, *arguments, method="get", payload=b"", check=True, identity=None, seconds=30):
        """Return (payload, what the program said)."""
        out = self.folder / f"{uuid.uuid4().hex}.out"
        certificate, key = identity or (self.certificate, self.key)
        command = [self.program, "-m", method, "-B", str(seconds), "-o", str(out), "-c", str(certificate)]
        command += ["-j", str(key), "-C", str(self.story.anchor), "-R", str(self.story.anchor)]
        if payload:
            file = self.folder / "payload"
            file.write_bytes(payload)
            command += ["-f", str(file)]
        done = subprocess.run(
            [*command, *arguments, f"{self.url}{path}"], capture_output=True, check=False, timeout=seconds + 20
        )
        said = (done.stdout + done.stderr).decode(errors="replace")
        assert not check or out.exists(), said
        return (out.read_bytes() if out.exists() else b""), said

    def post(self, path, value, form=CBOR, **further):
        data = cbor2.dumps(value) if form == CBOR else value
        return self.ask(path, "-t", form, method="post", payload=data, **further)


@pytest.fixture(scope="module")
def agent(story, tmp_path_factory):
    return story.agent(f"coap-{uuid.uuid4().hex[:6]}", tmp_path_factory.mktemp("coap"))


@pytest.fixture(params=[*((one, "coaps") for one in CLIENTS), (CLIENTS[0], "coaps+tcp")], ids=" ".join)
def client(request, story, agent, tmp_path):
    program, scheme = request.param
    return Client(story, tmp_path, program, agent, scheme)


def request(name, key=None):
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    csr = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return csr.public_bytes(serialization.Encoding.DER), key


def test_what_is_there_can_be_discovered(client):
    links, _ = client.ask("/.well-known/core")
    assert b'</v1/poll>;rt="muster.poll"' in links
    est, _ = client.ask("/.well-known/core?rt=ace.est*")
    assert est.count(b"ace.est.") == 6
    assert b"muster" not in est


def test_a_poll_for_nothing_is_answered_in_a_few_bytes(client):
    body, _ = client.post("/v1/poll", {})
    assert cbor2.loads(body)["next"] > 0
    assert len(body) <= 60


def test_est_coaps_serves_the_ca_certificates_in_blocks(client):
    body, _ = client.ask("/.well-known/est/crts")
    assert len(pkcs7.load_der_pkcs7_certificates(body)) >= 2
    assert client.ask("/.well-known/est/default/crts")[0] == body


def test_a_device_renews_its_certificate_over_coap(client, story, tmp_path):
    own = story.agent(f"renew-{uuid.uuid4().hex[:6]}", tmp_path / "disk")
    mine = Client(story, tmp_path, client.program, own, client.scheme)
    csr, key = request(own.settings.name)
    body, said = mine.post("/.well-known/est/sren", csr, PKCS10)
    [leaf] = pkcs7.load_der_pkcs7_certificates(body)
    assert leaf.public_key() == key.public_key(), said
    bare, _ = mine.ask("/.well-known/est/sren", "-t", PKCS10, "-A", "287", method="post", payload=csr)
    assert x509.load_der_x509_certificate(bare) == leaf


def test_an_expected_key_enrols_with_a_vendors_certificate_over_coap(client, story, tmp_path):
    """The certificate opens the association, the vendor stands behind it, and the serial number is expected."""
    serial, name = uuid.uuid4().hex[:10], f"idev-{uuid.uuid4().hex[:6]}"
    vendor = authority.make_root_ca(tmp_path / "vendor", f"Vendor {serial}")
    leaf, key = idevid(tmp_path / "vendor", serial, tmp_path)
    story.rest.post("/vendors", {"name": f"v-{serial}", "kind": "idevid", "pem": vendor.read_text()})
    story.rest.post("/expected-devices", {"serial": serial, "hardware": "vib-node", "device": name})
    csr, fresh = request(name)
    found = eventually(
        lambda: client.post("/.well-known/est/sen", csr, PKCS10, identity=(leaf, key), check=False, seconds=3)[0], 20
    )
    [issued] = pkcs7.load_der_pkcs7_certificates(found)
    assert issued.public_key() == fresh.public_key()
    assert story.device(name)["state"] == "active"


@pytest.fixture(scope="module")
def image(story, tmp_path_factory):
    return offered(story, tmp_path_factory.mktemp("image"), "coap-node")


@pytest.mark.parametrize("program", CLIENTS)
def test_a_megabyte_comes_in_blocks_and_is_whole(story, image, tmp_path, program):
    agent, data = image
    assert len(data) > 1 << 20
    client = Client(story, tmp_path, program, agent)
    assert "update" in cbor2.loads(client.post("/v1/poll", {})[0])
    body, said = client.ask(f"/v1/blob/{hashlib.sha256(data).hexdigest()}", seconds=300)
    assert len(body) == len(data), said[-500:]
    assert body == data


def test_a_report_signed_by_the_device_is_taken(client, agent, story):
    version = f"1.0.{uuid.uuid4().int % 1000}"
    component = {"version": version, "sha256": "00" * 32, "counter": 1, "confirmed": True}
    sequence = agent.state.following("report_sequence")
    payload = {"device": agent.public_id, "sequence": sequence, "at": 1, "components": {"app": component}}
    payload["fork"] = bytes.fromhex(agent.state.get("fork"))
    data = cbor2.dumps(payload)
    _, said = client.post("/v1/report", {"payload": data, "signature": agent._key.sign(data)}, check=False)
    key = story.device(agent.settings.name)["id"]
    assert story.rest.get(f"/devices/{key}")["reported"]["components"]["app"]["version"] == version, said


@pytest.mark.parametrize(
    ("path", "method", "payload", "code"),
    [
        ("/v1/nothing", "get", b"", "4.04"),
        ("/v1/poll", "put", b"", "4.05"),
        ("/v1/poll", "post", b"\xff\xfe", "4.00"),
        ("/v1/director", "post", cbor2.dumps({"nonce": 1}), "4.00"),
        ("/.well-known/est/none", "get", b"", "4.04"),
        ("/.well-known/est/sren", "post", b"rubbish", "4.00"),
        ("/.well-known/est/nowhere/crts", "get", b"", "4.04"),
    ],
)
def test_refusals_have_their_codes(client, path, method, payload, code):
    _, said = client.ask(path, "-t", CBOR, method=method, payload=payload, check=False)
    assert code in said


def test_whoever_shows_no_certificate_or_a_strangers_is_not_heard(story, client, tmp_path):
    rogue = self_signed(tmp_path, "rogue")
    assert client.post("/v1/poll", {}, check=False, identity=rogue, seconds=3)[0] == b""
    bare = [client.program, "-m", "get", "-B", "3", "-C", str(story.anchor), "-R", str(story.anchor)]
    done = subprocess.run([*bare, f"{client.url}/.well-known/core"], capture_output=True, check=False, timeout=20)
    assert b"muster" not in done.stdout


def test_a_revoked_device_is_refused_at_its_next_request(story, client, tmp_path):
    own = story.agent(f"revoked-{uuid.uuid4().hex[:6]}", tmp_path / "disk")
    mine = Client(story, tmp_path, client.program, own, client.scheme)
    assert cbor2.loads(mine.post("/v1/poll", {})[0])["next"] > 0
    leaf = x509.load_pem_x509_certificate(identity(own)[0].read_bytes())
    story.rest.post(f"/certificates/{leaf.fingerprint(hashes.SHA256()).hex()}/revoke", {"reason": "keyCompromise"})
    _, said = mine.post("/v1/poll", {}, check=False)
    assert "4.03" in said


def test_the_documented_c_example_polls(story, agent, tmp_path):
    """docs/examples/poll.c against libcoap as Debian has it: built with warnings as errors, and run."""
    source = Path(__file__).resolve().parents[2] / "docs" / "examples" / "poll.c"
    assert len(source.read_text().splitlines()) <= 60
    flags = subprocess.run(
        [require("pkg-config"), "--cflags", "--libs", "libcoap-3-openssl"], capture_output=True, text=True, check=True
    ).stdout.split()
    subprocess.run([require("cc"), "-Wall", "-Wextra", "-Werror", "-o", tmp_path / "poll", source, *flags], check=True)
    chain, key = identity(agent)
    port = str(story.settings["FLEET_COAP_PORT"])
    done = subprocess.run(
        [tmp_path / "poll", "127.0.0.1", port, story.anchor, chain, key],
        capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    assert done.stdout.startswith("2.05 "), done
    assert cbor2.loads(bytes.fromhex(done.stdout.split()[1]))["next"] > 0
