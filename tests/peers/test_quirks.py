"""What real clients do that a standard does not tell, one test each; numbers as we list them in our notes on EST.

1, 6 and 7 (one line of base64, requests without a certificate, strongSwan's own re-enrolment and 202) are in
``test_est``; the rest is here.
"""

import base64
import json
import subprocess
import sys
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs7
from cryptography.x509 import verification

from tests.factories.story import eventually
from tests.peers.programs import require
from tests.peers.test_est import Client, verified
from tests.peers.test_status import fetch, places

pytestmark = [pytest.mark.peer, pytest.mark.xdist_group("story")]
PEM = serialization.Encoding.PEM


@pytest.fixture
def client(story, tmp_path):
    return Client(story, tmp_path)


@pytest.fixture
def name():
    return f"quirk-{uuid.uuid4().hex[:8]}"


def test_2_openssl_needs_a_flag_to_decode_our_one_long_line(client):
    client.curl("/cacerts")
    decode = ("openssl", "base64", "-d", "-in", "body", "-out", "certs.der")
    client.run(*decode, "-A")
    assert len(pkcs7.load_der_pkcs7_certificates((client.folder / "certs.der").read_bytes())) >= 2
    client.run(*decode, check=False)
    assert (client.folder / "certs.der").read_bytes() == b""


def test_3_a_client_that_speaks_tls_1_2_only_enrols(client, name):
    client.csr(name, name)
    token = client.story.token(name)
    status, _, body = client.post("simpleenroll", name, "-u", f"x:{token}", "--tls-max", "1.2")
    assert status == 200, body


@pytest.mark.parametrize("header", [[], ["-H", "Content-Transfer-Encoding: base64"]], ids=["absent", "base64"])
def test_4_the_transfer_encoding_may_be_said_or_left_out(client, name, header):
    client.csr(name, name)
    status, _, body = client.post("simpleenroll", name, "-u", f"x:{client.story.token(name)}", *header)
    assert status == 200, body


def test_5_strongswan_knows_no_labels_so_its_token_names_the_profile(client, name):
    rest = client.story.rest
    rest.post("/certificate-profiles", {"name": f"p-{name}", "validity_days": 33, "renewal_days": 3, "grace_days": 1})
    token = rest.post("/enrolment-tokens", {"hardware": "vib-node", "devices": [name], "profile": f"p-{name}"})
    secret = token["results"][0]["secret"]
    client.pki("a.key", "--gen", "--type", "ecdsa", "--size", "256", "--outform", "pem")
    client.pki("a.csr", "--req", "--type", "priv", "--dn", f"CN={name}", "--outform", "der", "--in", "a.key")
    est = ("--est", "--url", client.url, "--cacert", client.anchor, "--outform", "pem", "--in", "a.csr")
    client.pki("a.crt", *est, "--userpass", f"x:{secret}")
    leaf = x509.load_pem_x509_certificate((client.folder / "a.crt").read_bytes())
    assert leaf.not_valid_after_utc - datetime.now(UTC) < timedelta(days=33)
    assert "OK" in verified(client, "a.crt").stdout


def test_8_openssl_refuses_the_list_of_another_shard(client, name):
    leaf = client.enrol(name)
    own = places(leaf)[0]
    shard = int(own.rsplit("/", 1)[1].removesuffix(".crl"), 16)
    other = f"{own.rsplit('/', 1)[0]}/{(shard + 1) % 256:02x}.crl"
    authorities = pkcs7.load_der_pkcs7_certificates(base64.b64decode(client.curl("/cacerts")[2]))
    issuer = next(one for one in authorities if one.subject == leaf.issuer and one.issuer != one.subject)
    (client.folder / "ca.pem").write_bytes(issuer.public_bytes(PEM))
    (client.folder / "leaf.pem").write_bytes(leaf.public_bytes(PEM))

    def said(url):
        (client.folder / "list.pem").write_bytes(x509.load_der_x509_crl(fetch(url)).public_bytes(PEM))
        command = ("verify", "-crl_check", "-partial_chain", "-CAfile", "ca.pem", "-CRLfile", "list.pem", "leaf.pem")
        done = client.run("openssl", *command, check=False)
        return done.stdout + done.stderr

    eventually(lambda: "OK" in said(own))
    assert "ifferent CRL scope" in said(other)


def test_9_the_python_library_verifies_our_clients_by_their_uri(client, name):
    leaf = client.enrol(name)
    authorities = pkcs7.load_der_pkcs7_certificates(base64.b64decode(client.curl("/cacerts")[2]))
    roots = [one for one in authorities if one.subject == one.issuer]
    issuing = [one for one in authorities if one.subject != one.issuer]
    verifier = verification.PolicyBuilder().store(verification.Store(roots)).build_client_verifier()
    found = verifier.verify(leaf, issuing)
    assert any(isinstance(one, x509.UniformResourceIdentifier) for one in found.subjects)


def test_10_addresses_in_certificates_are_none_that_a_linter_calls_invalid(client, name):
    leaf = client.enrol(name)
    path = client.folder / "leaf.pem"
    path.write_bytes(leaf.public_bytes(PEM))
    tool = Path(sys.executable).parent / "lint_pkix_cert"
    done = subprocess.run([tool, "lint", "-s", "WARNING", "-f", "JSON", path], capture_output=True, check=False)
    found = [
        finding.get("message", "")
        for one in json.loads(done.stdout)["results"]
        for finding in one["finding_descriptions"]
    ]
    assert [one for one in found if "urn:muster:device:" not in one] == []


def test_11_an_endorsement_certificate_has_no_subject_to_go_by(tmp_path):
    """The emulator does as real vendors do: whatever the subject says, a critical SAN with a directory name, its own EKU."""
    from tests.peers.test_tpm import Tpm

    require("swtpm")
    tpm = Tpm(tmp_path / "tpm", 2431)
    ek = x509.load_der_x509_certificate(tpm.facts("request.json")["ek_cert"])
    names = ek.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert names.critical
    assert names.value.get_values_for_type(x509.DirectoryName)
    assert [one.dotted_string for one in ek.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value] == [
        "2.23.133.8.1"
    ]
