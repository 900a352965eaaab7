"""What an officer sees before the root certifies a CA: subject, key, validity and bounds, never file names."""

import subprocess
import sys

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from fleet.officer import authority, keys
from ota.contract.root_keys import describe_key
from pki.kernel.errors import InvalidError
from pki.kernel.public_keys import key_identity
from tests.regressions import regression

PEM = serialization.Encoding.PEM


def request_of(name):
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    return x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())


def answered(answer, *arguments):
    """Run the officers' tool and answer its question."""
    command = [sys.executable, "-m", "fleet.officer", *map(str, arguments)]
    return subprocess.run(command, input=answer, capture_output=True, text=True, check=False)


@pytest.fixture
def roots(tmp_path):
    return [authority.make_root_ca(tmp_path / name, f"{name} root").parent for name in ("old", "new")]


def shown_of(certificate):
    return [
        f"subject: {certificate.subject.rfc4514_string()}",
        f"SHA-256 of its SubjectPublicKeyInfo {key_identity(certificate.public_key())}",
        f"to {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC",
    ]


@regression("R8", "an issuing CA that is certified: its key, validity and bounds, and the root that certifies")
def test_an_issuing_ca_is_shown_before_it_is_certified(roots, tmp_path):
    (tmp_path / "ca.csr").write_bytes(request_of("Issuing CA 7").public_bytes(PEM))
    out = tmp_path / "ca.pem"
    arguments = "ca-issue", "--root", roots[0], "--csr", tmp_path / "ca.csr", "--permit-dns", "x.example", "--out", out
    refused = answered("no\n", *arguments)
    assert refused.returncode == 1
    assert not out.exists()
    agreed = answered("yes\n", *arguments)
    made, root = (x509.load_pem_x509_certificate(path.read_bytes()) for path in (out, roots[0] / "root-ca.pem"))
    for text in (*shown_of(made), *shown_of(root), "only names below x.example, with 0 CAs below it"):
        assert text in agreed.stdout
        assert text in refused.stdout or "UTC" in text


@regression("R8", "a root that is linked: whose key, not which file")
@regression("V1", "a link of a rollover to another key than the officer thinks")
def test_a_link_shows_key_and_validity_of_both_roots(roots, tmp_path):
    out = tmp_path / "link.pem"
    said = answered("yes\n", "ca-cross", "--root", roots[0], "--other", roots[1] / "root-ca.pem", "--out", out)
    made = x509.load_pem_x509_certificate(out.read_bytes())
    for certificate in (made, *(x509.load_pem_x509_certificate((one / "root-ca.pem").read_bytes()) for one in roots)):
        assert all(text in said.stdout for text in shown_of(certificate)), said.stdout
    assert "root-ca.pem" not in said.stdout


@regression("R8", "a subject that moves the cursor of the officer's terminal")
def test_nothing_in_a_subject_reaches_the_terminal_as_it_is(roots):
    lines = authority.issuing_ca(roots[0], request_of("CA\x1b[2K\rTrusted CA").public_bytes(PEM)).lines()
    assert all(line.isprintable() for line in lines)


def test_what_is_shown_is_what_is_signed(roots):
    shown = authority.issuing_ca(roots[0], request_of("Issuing CA 8").public_bytes(PEM))
    made = x509.load_pem_x509_certificate(shown.sign())
    assert all(any(text in line for line in shown.lines()) for text in shown_of(made))
    made.verify_directly_issued_by(shown.issuer)


@regression("V1", "a root certificate beside another root's key")
def test_a_key_that_is_not_the_certificates_signs_nothing(roots):
    (roots[0] / "root-ca.pem").write_bytes((roots[1] / "root-ca.pem").read_bytes())
    with pytest.raises(InvalidError, match=r"root-ca\.key does not match root-ca\.pem"):
        authority.issuing_ca(roots[0], request_of("Issuing CA 9").public_bytes(PEM))


def test_a_new_officers_key_is_shown_with_the_fingerprint_that_a_root_shows(tmp_path):
    said = answered("", "keygen", "--out", tmp_path, "--name", "anna")
    path = tmp_path / "anna.pub.json"
    assert said.stdout.splitlines() == [str(path), f"anna: {describe_key(keys.load_officer(path)[1].to_dict())}"]


def test_a_new_root_is_shown_with_its_key(tmp_path):
    said = answered("", "ca-root", "--out", tmp_path / "root", "--name", "A root")
    made = x509.load_pem_x509_certificate((tmp_path / "root" / "root-ca.pem").read_bytes())
    assert said.stdout.splitlines()[0] == str(tmp_path / "root" / "root-ca.pem")
    assert all(text in said.stdout for text in shown_of(made))
