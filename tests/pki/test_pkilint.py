"""pkilint (PKIX profiles) finds nothing of WARNING or above in anything that this CA emits.

One finding is its own: pkilint 0.13 checks every URI as a web address, so it calls each URN invalid. RFC 5280, 4.2.1.6
wants a URI after RFC 3986 with a scheme, which a URN is (RFC 8141); the test lets exactly that one pass, for our URN.
"""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509 import ocsp as library

from fleet.officer import authority
from pki import crl, ocsp
from pki import x509 as rules
from pki.profiles import DEVICE, OCSP, SERVER

DER, PEM = serialization.Encoding.DER, serialization.Encoding.PEM
URL = "http://192.0.2.1:8445"
KEYS = {
    "p256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "rsa": lambda: rsa.generate_private_key(65537, 2048),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
}


def lint(tool, folder, data, *further):
    path = folder / "document"
    path.write_bytes(data)
    command = [Path(sys.executable).parent / tool, "lint", "-s", "WARNING", "-f", "JSON", *further, path]
    done = subprocess.run([str(one) for one in command], capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout, done.stderr
    found = [
        (one["node_path"], finding["code"], finding.get("message", ""))
        for one in json.loads(done.stdout)["results"]
        for finding in one["finding_descriptions"]
    ]
    own = [one for one in found if one[1] == "pkix.invalid_uri_syntax" and '"urn:muster:device:' in one[2]]
    assert [one for one in found if one not in own] == []


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """Return roots, an issuing CA, the links of a rollover."""
    old, new = tmp_path_factory.mktemp("old"), tmp_path_factory.mktemp("new")
    roots = [authority.make_root_ca(folder, f"Root {folder.name[:3]}").read_bytes() for folder in (old, new)]
    key = ec.generate_private_key(ec.SECP256R1())
    issued = authority.certify_issuing_ca(old, rules.authority_csr(key, "Issuing CA 1").public_bytes(PEM))
    issuer = rules.Issuer(x509.load_pem_x509_certificate(issued), key, URL)
    links = [authority.cross_certify(old, roots[1]), authority.cross_certify(new, roots[0])]
    return roots, issuer, links


def test_roots_issuing_cas_and_links(tree, tmp_path):
    roots, issuer, links = tree
    for data in (*roots, issuer.certificate.public_bytes(PEM), *links):
        lint("lint_pkix_cert", tmp_path, data)


def test_an_issuing_ca_with_name_constraints(tmp_path):
    authority.make_root_ca(tmp_path / "root", "Root")
    request = rules.authority_csr(ec.generate_private_key(ec.SECP256R1()), "Bounded CA").public_bytes(PEM)
    lint(
        "lint_pkix_cert", tmp_path, authority.certify_issuing_ca(tmp_path / "root", request, ["default.device.invalid"])
    )


@pytest.mark.parametrize("kind", KEYS)
def test_device_certificates_of_every_key_type(tree, tmp_path, kind):
    key, now = KEYS[kind]().public_key(), datetime.now(UTC)
    subject = rules.device_subject("default", "0190b5a0-0000-7000-8000-000000000001", "node-1", key)
    made = rules.issue_certificate(tree[1], DEVICE, subject, now, now + DEVICE.validity)
    lint("lint_pkix_cert", tmp_path, made.public_bytes(PEM))


def test_listener_and_responder_certificates(tree, tmp_path):
    key, now = KEYS["p256"]().public_key(), datetime.now(UTC)
    listener = rules.issue_certificate(
        tree[1], SERVER, rules.server_subject(["fleet.example", "192.0.2.7"], key), now, now + SERVER.validity
    )
    lint("lint_pkix_cert", tmp_path, listener.public_bytes(PEM))
    responder = rules.issue_certificate(tree[1], OCSP, rules.responder_subject("OCSP", key), now, now + OCSP.validity)
    lint("lint_pkix_cert", tmp_path, responder.public_bytes(PEM))


@pytest.mark.parametrize("reasons", [[], ["unspecified"], list(crl.REASONS)])
def test_revocation_lists(tree, tmp_path, reasons):
    now = datetime.now(UTC).replace(microsecond=0)
    entries = b"".join(crl.crl_entry(rules.random_serial(), now, reason) for reason in reasons)
    data, _ = crl.build_crl(tree[1], 7, entries, 12, now, now + timedelta(days=7))
    lint("lint_crl", tmp_path, data, "-t", "CRL", "-p", "PKIX")


@pytest.mark.parametrize("standing", [
    ocsp.OcspStatus(known=True),
    ocsp.OcspStatus(known=True, revoked_at=datetime(2026, 1, 1, tzinfo=UTC), reason="keyCompromise"),
    ocsp.OcspStatus(known=True, revoked_at=datetime(2026, 1, 1, tzinfo=UTC), reason="unspecified"),
    ocsp.OcspStatus(known=False),
])  # fmt: skip
@pytest.mark.parametrize("nonce", [None, b"0123456789abcdef"])
def test_ocsp_answers(tree, tmp_path, standing, nonce):
    now = datetime.now(UTC).replace(microsecond=0)
    key = KEYS["p256"]()
    made = rules.issue_certificate(
        tree[1], OCSP, rules.responder_subject("OCSP", key.public_key()), now, now + OCSP.validity
    )
    responder = ocsp.Responder(key, made, tree[1].certificate)
    question = ocsp.Question(hashes.SHA256(), b"\1" * 32, b"\2" * 32, 77, nonce)
    data = ocsp.sign_answer(responder, question, standing, now)
    assert library.load_der_ocsp_response(data).serial_number == 77
    lint("lint_ocsp_response", tmp_path, data)
