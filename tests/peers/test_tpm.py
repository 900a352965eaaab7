"""A device with a TPM 2.0 (swtpm, driven by tpm2-tools) proves who it is; its key never leaves the TPM."""

import base64
import hashlib
import json
import os
import secrets
import subprocess
import uuid

import cbor2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs7
from cryptography.x509.oid import NameOID

from pki import der
from tests.architecture.sources import ROOT
from tests.factories.ports import lease_pair
from tests.peers.programs import require

pytestmark = [pytest.mark.peer, pytest.mark.xdist_group("story")]
CBOR = {"Content-Type": "application/cbor"}


class Tpm:
    """One emulated device."""

    def __init__(self, folder, port):
        self.folder, self.port = folder, port
        for program in ("swtpm", "swtpm_setup", "tpm2_createek", "xxd"):
            require(program)
        self.run("make")

    def run(self, command, *arguments, **environment):
        script = ROOT / "tests/peers/tpm_device.sh"
        variables = {**os.environ, "PORT": str(self.port), **environment}
        done = subprocess.run(
            ["bash", script, command, self.folder, *map(str, arguments)],
            env=variables, capture_output=True, text=True, check=False, cwd=self.folder.parent, timeout=90,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def facts(self, name):
        return {key: base64.b64decode(value) for key, value in json.loads((self.folder / name).read_text()).items()}

    def issuer(self):
        """Return the vendor's CA that issued the endorsement certificate, in PEM."""
        return (self.folder / "vendor/issuercert.pem").read_text()

    def csr(self, name, key="app"):
        """Return a request signed in the TPM: the library makes its body around another key of the same size."""
        other = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        draft = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(other, hashes.SHA256())
        theirs = serialization.load_pem_public_key((self.folder / f"{key}.pem").read_bytes())
        body = draft.tbs_certrequest_bytes.replace(_point(other.public_key()), _point(theirs))
        (self.folder / "tbs").write_bytes(body)
        self.run("sign", key, self.folder / "tbs", self.folder / "tbs.sig")
        algorithm = der.sequence_parts(draft.public_bytes(serialization.Encoding.DER))[1]
        return der.signed_der(body, algorithm, (self.folder / "tbs.sig").read_bytes())

    def quote(self, nonce, **environment):
        self.run("quote", nonce.hex(), "0,7", **environment)
        blank = bytes(64)
        return {
            "attest": (self.folder / "quote.msg").read_bytes(),
            "signature": (self.folder / "quote.sig").read_bytes(),
            "pcrs": blank,
        }


def _point(key):
    return key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)


@pytest.fixture(scope="module")
def tpm(tmp_path_factory):
    made = Tpm(tmp_path_factory.mktemp("tpm") / "device", lease_pair())
    made.run("newkey", "app")
    return made


@pytest.fixture(scope="module")
def vendor(story, tpm):
    """Trust the TPM's vendor; all its TPMs sit in vib-nodes."""
    body = {"name": "TestVendor", "kind": "tpm", "pem": tpm.issuer(), "hardware": "vib-node"}
    return story.rest.post("/vendors", body)


def call(story, path, body):
    status, headers, data = story.call("POST", path, cbor2.dumps(body), CBOR)
    return status, headers, cbor2.loads(data)


def challenge(story, tpm, **changes):
    facts = tpm.facts("request.json")
    body = {"ek_certificate": facts["ek_cert"], "ek_public": facts["ek_public"], "ak_public": facts["ak_public"]}
    return call(story, "/v1/enrol/tpm/challenge", body | changes)


def answer(tpm, session, secret, nonce, name, **changes):
    key = tpm.facts("app.json")
    body = {
        "session": session, "secret": secret, "csr": tpm.csr(name), "quote": tpm.quote(nonce),
        "key": {"public": key["public"], "attest": key["attest"], "signature": key["signature"]},
    }  # fmt: skip
    return body | changes


def opened(story, tpm):
    """Return a session, its secret as the TPM opened it, and the nonce."""
    status, _, body = challenge(story, tpm)
    assert status == 200, body
    (tpm.folder / "challenge.bin").write_bytes(body["challenge"])
    tpm.run("activate", tpm.folder / "challenge.bin")
    return body["session"], (tpm.folder / "secret.bin").read_bytes(), body["nonce"]


def test_a_tpm_enrols_after_a_person_has_approved_it(story, tpm, vendor):
    name = f"tpm-{uuid.uuid4().hex[:6]}"
    status, headers, body = call(story, "/v1/enrol/tpm", answer(tpm, *opened(story, tpm), name))
    assert (status, body["error"]) == (202, "pending"), body
    assert int(headers["retry-after"]) > 0
    waiting = next(one for one in story.rest.get("/enrolment-requests?state=waiting")["results"] if one["name"] == name)
    assert waiting["proof"] == "tpm"
    story.rest.post(f"/enrolment-requests/{waiting['id']}/approve", {})
    status, _, body = call(story, "/v1/enrol/tpm", answer(tpm, *opened(story, tpm), name))
    assert status == 200, body
    [leaf] = pkcs7.load_der_pkcs7_certificates(body["certificates"])
    assert _point(leaf.public_key()) == _point(serialization.load_pem_public_key((tpm.folder / "app.pem").read_bytes()))
    assert story.device(name)["identities"][0]["vendor"] == "TestVendor"


def test_a_secret_is_good_once_and_a_guess_ends_the_challenge(story, tpm, vendor):
    session, secret, nonce = opened(story, tpm)
    body = answer(tpm, session, secret, nonce, "tpm-guess")
    assert call(story, "/v1/enrol/tpm", body | {"secret": secrets.token_bytes(32)})[0] == 401
    assert call(story, "/v1/enrol/tpm", body)[0] == 401


def test_an_old_nonce_is_refused(story, tpm, vendor):
    _, _, old = opened(story, tpm)
    session, secret, _ = opened(story, tpm)
    status, _, body = call(story, "/v1/enrol/tpm", answer(tpm, session, secret, old, "tpm-old"))
    assert status == 400
    assert "challenge" in body["detail"]


def test_pcr_values_that_were_not_quoted_are_refused(story, tpm, vendor):
    session, secret, nonce = opened(story, tpm)
    extend = "7:" + "ab" * 32
    body = answer(tpm, session, secret, nonce, "tpm-pcr", quote=tpm.quote(nonce, EXTEND=extend))
    status, _, body = call(story, "/v1/enrol/tpm", body)
    assert status == 400
    assert "PCR" in body["detail"]


def test_a_key_that_the_tpm_did_not_certify_is_refused(story, tpm, vendor):
    session, secret, nonce = opened(story, tpm)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tpm-soft")])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    soft = request.public_bytes(serialization.Encoding.DER)
    status, _, body = call(story, "/v1/enrol/tpm", answer(tpm, session, secret, nonce, "tpm-soft", csr=soft))
    assert status == 400
    assert "not the key that the TPM certified" in body["detail"]


@pytest.mark.parametrize("field", ["ek_public", "ak_public"])
@pytest.mark.parametrize("change", ["cut", "longer", "empty"])
def test_damaged_public_areas_are_refused(story, tpm, vendor, field, change):
    data = tpm.facts("request.json")[field]
    bad = {"cut": data[:-1], "longer": data + b"\0", "empty": b""}[change]
    assert challenge(story, tpm, **{field: bad})[0] == 400


def test_the_attestation_key_must_be_restricted(story, tpm, vendor):
    status, _, body = challenge(story, tpm, ak_public=tpm.facts("app.json")["public"])
    assert status == 400
    assert "restricted" in body["detail"]


def test_an_endorsement_key_without_or_with_another_certificate_is_refused(story, tpm, vendor):
    assert challenge(story, tpm, ek_certificate=b"")[0] == 401
    other = (tpm.folder / "ekcert-0x1c00016.der").read_bytes()
    assert hashlib.sha256(other).digest() != hashlib.sha256(tpm.facts("request.json")["ek_cert"]).digest()
    assert challenge(story, tpm, ek_certificate=other)[0] == 401


def test_a_vendor_that_is_not_listed_proves_nothing(story, tpm, vendor):
    story.rest.post(f"/vendors/{vendor['id']}/distrust", {})
    try:
        assert challenge(story, tpm)[0] == 401
    finally:
        body = {"name": "TestVendor", "kind": "tpm", "pem": tpm.issuer(), "hardware": "vib-node"}
        story.rest.post("/vendors", body)
