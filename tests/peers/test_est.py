"""Real EST clients: strongSwan's ``pki``, curl and openssl; each quirk of theirs is a test of its own."""

import base64
import http.client
import json
import ssl
import subprocess
import threading
import time
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs7
from cryptography.x509.oid import AttributeOID, NameOID

from fleet.officer import authority
from tests.peers.programs import require

pytestmark = [pytest.mark.peer, pytest.mark.xdist_group("story")]
EST = "/.well-known/est"
DER, PEM = serialization.Encoding.DER, serialization.Encoding.PEM


class Client:
    """A folder in which real programs work against the story's device gateway."""

    def __init__(self, story, folder):
        self.story, self.folder = story, folder
        self.anchor = story.anchor
        self.url = story.server

    def run(self, *command, check=True):
        done = subprocess.run(
            [str(one) for one in command], cwd=self.folder, capture_output=True, text=True, check=False, timeout=60
        )
        assert not check or done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done

    def pki(self, out, *arguments, check=True):
        command = [require("pki"), *map(str, arguments)]
        with (self.folder / out).open("wb") as file:
            done = subprocess.run(
                command, cwd=self.folder, stdout=file, stderr=subprocess.PIPE, check=False, timeout=60
            )
        assert not check or done.returncode == 0, done.stderr.decode()
        return done

    def curl(self, path, *arguments):
        """Return (status, headers, body)."""
        command = [require("curl"), "-sS", "--cacert", self.anchor, "-D", "head", "-o", "body", "-w", "%{http_code}"]
        status = int(self.run(*command, *arguments, f"{self.url}{EST}{path}").stdout)
        lines = (self.folder / "head").read_text().lower().splitlines()
        headers = dict(line.split(": ", 1) for line in lines if ": " in line)
        return status, headers, (self.folder / "body").read_bytes()

    def key(self, name):
        self.run("openssl", "ecparam", "-genkey", "-name", "prime256v1", "-noout", "-out", f"{name}.key")

    def csr(self, name, common_name, key=None):
        if not (self.folder / f"{key or name}.key").exists():
            self.key(key or name)
        self.run("openssl", "req", "-new", "-key", f"{key or name}.key", "-subj", f"/O=Fleet/CN={common_name}",
                 "-outform", "der", "-out", f"{name}.csr")  # fmt: skip
        self.run("openssl", "base64", "-in", f"{name}.csr", "-out", f"{name}.b64")

    def post(self, operation, name, *arguments):
        return self.curl(
            f"/{operation}", "-H", "Content-Type: application/pkcs10", "--data-binary", f"@{name}.b64", *arguments
        )

    def enrol(self, name):
        """Enrol by curl; leave NAME.crt and NAME.key."""
        self.csr(name, name)
        status, _, body = self.post("simpleenroll", name, "-u", f"x:{self.story.token(name)}")
        assert status == 200, body
        [leaf] = pkcs7.load_der_pkcs7_certificates(base64.b64decode(body))
        above = pkcs7.load_der_pkcs7_certificates(base64.b64decode(self.curl("/cacerts")[2]))
        chain = [leaf, *(one for one in above if one.subject != one.issuer)]
        (self.folder / f"{name}.crt").write_bytes(b"".join(one.public_bytes(PEM) for one in chain))
        return leaf


@pytest.fixture
def client(story, tmp_path):
    return Client(story, tmp_path)


@pytest.fixture
def name():
    return f"est-{uuid.uuid4().hex[:8]}"


def verified(client, path, form="PEM"):
    (client.folder / "chain.pem").write_bytes(
        b"".join(
            one.public_bytes(PEM)
            for one in pkcs7.load_der_pkcs7_certificates(base64.b64decode(client.curl("/cacerts")[2]))
        )
    )
    return client.run("openssl", "verify", "-CAfile", client.anchor, "-untrusted", "chain.pem", path, check=False)


def test_cacerts_is_one_line_of_base64_because_strongswan_skips_no_white_space(client):
    status, headers, body = client.curl("/cacerts")
    assert (status, headers["content-type"]) == (200, "application/pkcs7-mime; smime-type=certs-only")
    assert not set(body) & set(b"\r\n \t")
    assert len(pkcs7.load_der_pkcs7_certificates(base64.b64decode(body))) >= 2


def test_strongswan_fetches_the_ca_certificates(client):
    client.pki("out", "--estca", "--url", client.url, "--cacert", client.anchor, "--force", "--caout", "ca.der")
    assert list(client.folder.glob("ca*.der"))


def test_strongswan_enrols_with_a_password_and_again_with_its_certificate(client, name):
    client.pki("a.key", "--gen", "--type", "ecdsa", "--size", "256", "--outform", "pem")
    request = ("--req", "--type", "priv", "--dn", f"O=Fleet, CN={name}", "--san", f"{name}.local", "--outform", "der")
    client.pki("a.csr", *request, "--in", "a.key")
    est = ("--est", "--url", client.url, "--cacert", client.anchor, "--outform", "pem")
    client.pki("a.crt", *est, "--in", "a.csr", "--userpass", f"{name}:{client.story.token(name)}")
    assert "OK" in verified(client, "a.crt").stdout
    client.pki("b.key", "--gen", "--type", "ecdsa", "--size", "256", "--outform", "pem")
    client.pki("b.csr", *request, "--in", "b.key")
    above = next(iter(sorted(client.folder.glob("chain.pem"))))
    client.pki("b.crt", *est, "--in", "b.csr", "--cert", "a.crt", "--key", "a.key", "--cacert", above)
    assert "OK" in verified(client, "b.crt").stdout
    first, second = (x509.load_pem_x509_certificate((client.folder / one).read_bytes()) for one in ("a.crt", "b.crt"))
    assert first.subject == second.subject
    assert first.serial_number != second.serial_number


def test_strongswan_with_a_wrong_password_is_told_401(client, name):
    client.pki("a.key", "--gen", "--type", "ecdsa", "--size", "256", "--outform", "pem")
    client.pki("a.csr", "--req", "--type", "priv", "--dn", f"CN={name}", "--outform", "der", "--in", "a.key")
    done = client.pki("a.crt", "--est", "--url", client.url, "--in", "a.csr", "--cacert", client.anchor,
                      "--userpass", f"{name}:wrong", check=False)  # fmt: skip
    assert done.returncode != 0
    assert b"401" in done.stderr


def test_strongswan_waits_through_202_until_a_person_approves(client, name):
    story = client.story
    story.rest.post("/certificate-profiles", {"name": "guarded", "approval": True})
    token = story.rest.post("/enrolment-tokens", {"hardware": "vib-node", "devices": [name], "profile": "guarded"})
    secret = token["results"][0]["secret"]
    client.pki("a.key", "--gen", "--type", "ecdsa", "--size", "256", "--outform", "pem")
    client.pki("a.csr", "--req", "--type", "priv", "--dn", f"CN={name}", "--outform", "der", "--in", "a.key")

    def approve():
        for _ in range(40):
            rows = story_rest_waiting(story, name)
            if rows:
                story.manage("enrolment", "approve", rows[0]["id"])
                return
            time.sleep(0.2)

    helper = threading.Thread(target=approve)
    helper.start()
    client.pki("a.crt", "--est", "--url", client.url, "--in", "a.csr", "--cacert", client.anchor,
               "--userpass", f"{name}:{secret}", "--interval", "1", "--maxpolltime", "40", "--outform", "pem")  # fmt: skip
    helper.join()
    assert "OK" in verified(client, "a.crt").stdout


def story_rest_waiting(story, name):
    listed = json.loads(story.manage("enrolment", "list", "--json").stdout)
    return [one for one in listed if one["name"] == name and one["state"] == "waiting"]


def test_a_waiting_request_survives_a_restart_and_a_denied_one_is_told(client, name):
    story = client.story
    story.rest.post("/certificate-profiles", {"name": "guarded", "approval": True})
    made = story.rest.post("/enrolment-tokens", {"hardware": "vib-node", "devices": [name], "profile": "guarded"})
    client.csr(name, name)
    login = ("-u", f"x:{made['results'][0]['secret']}")
    status, headers, _ = client.post("simpleenroll", name, *login)
    assert (status, int(headers["retry-after"]) > 0) == (202, True)
    story.stop()
    story.start()
    assert client.post("simpleenroll", name, *login)[0] == 202
    [waiting] = story_rest_waiting(story, name)
    story.rest.post(f"/enrolment-requests/{waiting['id']}/deny", {"reason": "nobody knows it"})
    status, _, body = client.post("simpleenroll", name, *login)
    assert status == 403
    assert b"nobody knows it" in body


def test_curl_enrols_and_renews_with_line_broken_base64(client, name):
    first = client.enrol(name)
    assert "OK" in verified(client, f"{name}.crt").stdout
    status, headers, body = client.post(
        "simplereenroll",
        name,
        "--cert",
        f"{name}.crt",
        "--key",
        f"{name}.key",
        "-H",
        "Content-Transfer-Encoding: base64",
    )
    assert (status, headers["content-type"]) == (200, "application/pkcs7-mime; smime-type=certs-only")
    [second] = pkcs7.load_der_pkcs7_certificates(base64.b64decode(body))
    assert second.subject == first.subject
    assert second.serial_number != first.serial_number
    again = client.post("simplereenroll", name, "--cert", f"{name}.crt", "--key", f"{name}.key")[2]
    [third] = pkcs7.load_der_pkcs7_certificates(base64.b64decode(again))
    assert third == second, "the same request again gets the same answer"


def test_without_a_credential_a_password_is_asked_for(client, name):
    client.csr(name, name)
    status, headers, _ = client.post("simpleenroll", name)
    assert status == 401
    assert headers["www-authenticate"].startswith("basic")


def test_renewal_wants_the_certificate_and_the_same_subject(client, name):
    client.enrol(name)
    assert client.post("simplereenroll", name, "-u", f"x:{client.story.token('other-' + name)}")[0] == 401
    client.csr("other", "somebody-else", key=name)
    status, _, body = client.post("simplereenroll", "other", "--cert", f"{name}.crt", "--key", f"{name}.key")
    assert status == 400
    assert b"somebody-else" in body


def test_rubbish_and_a_broken_signature_are_told_400(client, name):
    login = ("-u", f"x:{client.story.token(name)}")
    (client.folder / "junk.b64").write_text("AAAA")
    assert client.post("simpleenroll", "junk", *login)[0] == 400
    client.csr(name, name)
    data = bytearray((client.folder / f"{name}.csr").read_bytes())
    data[-3] ^= 1
    (client.folder / "bad.b64").write_bytes(base64.b64encode(data))
    assert client.post("simpleenroll", "bad", *login)[0] == 400
    assert client.post("simpleenroll", name, *login)[0] == 200, "the token is still good"


def test_csrattrs_are_those_of_the_rfc(client):
    status, headers, body = client.curl("/csrattrs")
    assert (status, headers["content-type"]) == (200, "application/csrattrs")
    wanted = "3021301506072a8648ce3d0201310a06082a8648ce3d03010706082a8648ce3d040302"
    assert base64.b64decode(body).hex() == wanted


def test_bearer_tokens_and_labels(client, name):
    client.csr(name, name)
    secret = client.story.token(name)
    command = ("-H", "Content-Type: application/pkcs10", "-H", f"Authorization: Bearer {secret}", "--data-binary")
    assert client.curl("/nowhere/simpleenroll", *command, f"@{name}.b64")[0] == 404
    assert client.curl("/default/simpleenroll", *command, f"@{name}.b64")[0] == 200


def test_a_label_asks_for_a_profile_that_the_token_must_permit(client, name):
    client.story.rest.post("/certificate-profiles", {"name": "short", "validity_days": 40, "renewal_days": 5})
    client.csr(name, name)
    command = ("-H", "Content-Type: application/pkcs10", "--data-binary", f"@{name}.b64", "-u")
    assert client.curl("/default.short/simpleenroll", *command, f"x:{client.story.token(name)}")[0] == 403
    made = client.story.rest.post("/enrolment-tokens", {"hardware": "vib-node", "devices": [name], "profile": "short"})
    status, _, body = client.curl("/short/simpleenroll", *command, f"x:{made['results'][0]['secret']}")
    assert status == 200, body
    [leaf] = pkcs7.load_der_pkcs7_certificates(base64.b64decode(body))
    assert (leaf.not_valid_after_utc - leaf.not_valid_before_utc).days == 40


def test_the_server_makes_a_key_only_where_the_profile_says_so(client, name):
    client.csr(name, name)
    command = ("-H", "Content-Type: application/pkcs10", "--data-binary", f"@{name}.b64", "-u")
    assert client.curl("/serverkeygen", *command, f"x:{client.story.token(name)}")[0] == 403
    client.story.rest.post("/certificate-profiles", {"name": "weak-devices", "server_keygen": True})
    made = client.story.rest.post(
        "/enrolment-tokens", {"hardware": "vib-node", "devices": [name], "profile": "weak-devices"}
    )
    status, headers, body = client.curl("/serverkeygen", *command, f"x:{made['results'][0]['secret']}")
    assert status == 200, body
    boundary = headers["content-type"].partition("boundary=")[2].encode()
    parts = [part.partition(b"\r\n\r\n")[2].strip() for part in body.split(b"--" + boundary)[1:3]]
    key = serialization.load_der_private_key(base64.b64decode(parts[0]), None)
    [leaf] = pkcs7.load_der_pkcs7_certificates(base64.b64decode(parts[1]))
    assert leaf.public_key() == key.public_key()


def test_a_request_bound_to_another_connection_is_refused(story, name):
    context = ssl.create_default_context(cafile=story.anchor)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    secret = story.token(name)
    for forged in (True, False):
        connection = http.client.HTTPSConnection("localhost", story.device_port, timeout=20, context=context)
        connection.connect()
        unique = connection.sock.get_channel_binding("tls-unique")
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        value = base64.b64encode(b"x" * 12 if forged else unique)
        csr = (
            x509.CertificateSigningRequestBuilder()
            .subject_name(subject)
            .add_attribute(AttributeOID.CHALLENGE_PASSWORD, value)
            .sign(key, hashes.SHA256())
        )
        login = base64.b64encode(f"x:{secret}".encode()).decode()
        headers = {"Content-Type": "application/pkcs10", "Authorization": f"Basic {login}"}
        connection.request("POST", f"{EST}/simpleenroll", base64.b64encode(csr.public_bytes(DER)), headers)
        response = connection.getresponse()
        body = response.read()
        connection.close()
        assert response.status == (400 if forged else 200), body


def test_a_vendor_certificate_opens_first_enrolment_and_nothing_else(client, name, tmp_path):
    story = client.story
    vendor = tmp_path / "vendor"
    authority.make_root_ca(vendor, "Acme Device CA")
    serial = f"SN-{uuid.uuid4().hex[:8]}"
    identity = idevid(vendor, serial, client.folder)
    story.rest.post("/vendors", {"name": "acme", "kind": "idevid", "pem": (vendor / "root-ca.pem").read_text()})
    story.rest.post("/expected-devices", {"serial": serial, "hardware": "vib-node", "device": name})
    time.sleep(3)  # the listeners take new anchors in every two seconds
    client.csr(name, name)
    shown = ("--cert", identity[0], "--key", identity[1])
    status, _, body = client.post("simpleenroll", name, *shown)
    assert status == 200, body
    assert story.device(name)["identities"][0]["serial"] == serial
    assert client.post("simplereenroll", name, *shown)[0] == 401
    status, _, _ = story.call("POST", "/v1/poll", b"\xa0", {"Content-Type": "application/cbor"}, identity=identity)
    assert status == 401
    client.csr("copy", f"copy-of-{name}")
    assert client.post("simpleenroll", "copy", *shown)[0] in {401, 409}


def idevid(vendor, serial, folder):
    """Return certificate and key files of a device identity from a vendor's factory."""
    above = x509.load_pem_x509_certificate((vendor / "root-ca.pem").read_bytes())
    signing = serialization.load_pem_private_key((vendor / "root-ca.key").read_bytes(), None)
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.SERIAL_NUMBER, serial)])
    leaf = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(above.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC))
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key()), critical=False)
        .sign(signing, hashes.SHA256())
    )
    certificate, private = folder / "idevid.crt", folder / "idevid.key"
    certificate.write_bytes(leaf.public_bytes(PEM))
    form = serialization.PrivateFormat.PKCS8
    private.write_bytes(key.private_bytes(PEM, form, serialization.NoEncryption()))
    return certificate, private


def test_an_expected_key_needs_no_token(client, name):
    client.csr(name, name)
    spki = x509.load_der_x509_csr((client.folder / f"{name}.csr").read_bytes()).public_key()
    digest = hashes.Hash(hashes.SHA256())
    digest.update(spki.public_bytes(DER, serialization.PublicFormat.SubjectPublicKeyInfo))
    body = {"serial": f"SN-{name}", "hardware": "vib-node", "device": name}
    client.story.rest.post("/expected-devices", {**body, "spki_sha256": digest.finalize().hex()})
    assert client.post("simpleenroll", name)[0] == 200


def test_a_new_board_takes_the_place_of_the_old_one(client, name):
    client.enrol(name)
    story = client.story
    device = story.device(name)
    made = story.rest.post(f"/devices/{device['id']}/board", {})
    client.csr("board", name)
    login = ("-u", f"x:{made['secret']}")
    assert client.post("simpleenroll", "board", *login)[0] == 202
    [waiting] = story_rest_waiting(story, name)
    story.rest.post(f"/enrolment-requests/{waiting['id']}/approve", {})
    assert client.post("simpleenroll", "board", *login)[0] == 200
    assert story.device(name)["id"] == device["id"]
    status, _, _ = client.post("simplereenroll", name, "--cert", f"{name}.crt", "--key", f"{name}.key")
    assert status == 403, "the old board's certificate is revoked"
