"""A device keeps a new certificate only if it would work: no CA's, in time, for clientAuth, below real CAs."""

import datetime as dt

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID as Usage
from cryptography.x509.oid import NameOID

from fleet.agent import est
from fleet.agent.errors import RefusedError
from fleet.agent.key import FileKey
from fleet.officer import authority
from pki.kernel import clock
from tests.regressions import regression

HOUR = dt.timedelta(hours=1)


@pytest.fixture
def ours(tmp_path):
    """Return a root and a CA below it, and the device that trusts the root."""
    root = authority.make_root_ca(tmp_path / "ours", "Root")
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "CA")])
    csr = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    certificate = x509.load_pem_x509_certificate(
        authority.certify_issuing_ca(tmp_path / "ours", csr.public_bytes(est.serialization.Encoding.PEM))
    )
    (tmp_path / "disk").mkdir()
    device = FileKey(tmp_path / "disk")
    return key, certificate, est.Holder(device, "victim", tmp_path / "disk" / "chain.pem", root)


def leaf(by, issuer, public, *extensions, starts=-HOUR):
    now = clock.now()
    builder = x509.CertificateBuilder().subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "victim")]))
    builder = builder.issuer_name(issuer.subject).public_key(public).serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now + starts).not_valid_after(now + 48 * HOUR)
    for one in extensions:
        builder = builder.add_extension(one, critical=False)
    return builder.sign(by, hashes.SHA256())


CLIENT = x509.ExtendedKeyUsage([Usage.CLIENT_AUTH])


def test_a_usual_certificate_is_kept(ours):
    key, ca, holder = ours
    est._keep([leaf(key, ca, holder.key.public, CLIENT)], [ca], holder)
    assert holder.chain.exists()


@regression("V6", "a device's new certificate: a CA's, not yet valid, for other uses")
@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ({"extensions": [x509.BasicConstraints(ca=True, path_length=None), CLIENT]}, "is a CA certificate"),
        ({"extensions": [x509.ExtendedKeyUsage([Usage.SERVER_AUTH])]}, "lacks the extended key usage clientAuth"),
        ({"extensions": [CLIENT], "starts": 24 * HOUR}, "not valid before"),
    ],
)
def test_a_certificate_that_would_not_work_is_refused(ours, wish, words):
    key, ca, holder = ours
    made = leaf(key, ca, holder.key.public, *wish.pop("extensions"), **wish)
    with pytest.raises(RefusedError, match=words):
        est._keep([made], [ca], holder)


@regression("V6", "a device's new certificate issued by a device, or by a CA below its path length")
def test_a_device_issues_no_certificates(ours):
    key, ca, holder = ours
    other = ec.generate_private_key(ec.SECP256R1())
    for further in ((CLIENT,), (x509.BasicConstraints(ca=True, path_length=None),)):
        sibling = leaf(key, ca, other.public_key(), *further)
        made = leaf(other, sibling, holder.key.public, CLIENT)
        with pytest.raises(RefusedError, match="does not chain to a trust anchor"):
            est._keep([made], [sibling, ca], holder)
