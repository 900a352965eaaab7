"""A CA of this server is recognised by its key: no other certificate of it vouches for firmware or for devices."""

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from devices.services import expected
from ota.models import TrustKey
from ota.services import trust_keys
from pki.kernel import clock
from pki.kernel.errors import InvalidError
from pki.models import Authority
from pki.services import authorities
from tests.factories.artefacts import DAY, PEM
from tests.factories.ground import system
from tests.regressions import regression

pytestmark = pytest.mark.django_db
SPKI = serialization.PublicFormat.SubjectPublicKeyInfo


def another_certificate(public):
    """Return a CA certificate of a key, by a root that nobody here knows."""
    above, now = ec.generate_private_key(ec.SECP256R1()), clock.now()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Acme signing CA")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(public)
    builder = builder.serial_number(7).not_valid_before(now - DAY).not_valid_after(now + 30 * DAY)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    return builder.sign(above, hashes.SHA256())


def key_of(kind, domain):
    row = Authority.objects.filter(domain=domain, kind=kind).latest("id")
    return x509.load_der_x509_certificate(bytes(row.der)).public_key()


def waiting(domain):
    return x509.load_pem_x509_csr(authorities.issuing_csr(actor=system(domain), name="Issuing CA 2")).public_key()


@pytest.fixture(params=["issuing", "root", "retired", "waiting", "foreign"])
def own(request, domain, other_domain):
    """Return the public key of a CA of this server."""
    if request.param == "retired":
        Authority.objects.filter(domain=domain).update(state="retired")
    if request.param == "waiting":
        return waiting(domain)
    return key_of(
        "root" if request.param == "root" else "issuing", other_domain if request.param == "foreign" else domain
    )


@regression("V5", "a CA of this server under another certificate, or as a bare key, as an anchor of firmware")
def test_no_ca_of_this_server_vouches_for_firmware(domain, own):
    bare = own.public_bytes(PEM, SPKI).decode()
    for format_, pem in (("swu", another_certificate(own).public_bytes(PEM).decode()), ("mcuboot", bare)):
        with pytest.raises(InvalidError, match="must not verify firmware"):
            trust_keys.add(actor=system(domain), name="x", format=format_, pem=pem)


@regression("V5", "a CA of this server as a vendor's CA")
def test_no_ca_of_this_server_is_a_vendors(domain, own):
    pem = another_certificate(own).public_bytes(PEM)
    for kind in ("idevid", "tpm"):
        with pytest.raises(InvalidError, match="cannot be a vendor's CA"):
            expected.trust_vendor(actor=system(domain), name="acme", kind=kind, pem=pem)


@regression("V5", "a trust key that became a CA's after it was registered; a vendor's CA as an anchor of firmware")
def test_whichever_comes_first_a_ca_of_devices_vouches_for_no_firmware(domain):
    private = ec.generate_private_key(ec.SECP256R1())
    certificate = another_certificate(private.public_key())
    pem = certificate.public_bytes(PEM).decode()
    key = trust_keys.add(actor=system(domain), name="acme", format="swu", pem=pem)
    assert trust_keys.without_device_cas([key]) == [key]
    expected.trust_vendor(actor=system(domain), name="acme", kind="idevid", pem=pem.encode())
    assert trust_keys.without_device_cas([TrustKey.objects.get(pk=key.pk)]) == []
    again = another_certificate(private.public_key()).public_bytes(PEM).decode()
    with pytest.raises(InvalidError, match="must not verify firmware"):
        trust_keys.add(actor=system(domain), name="acme-2", format="rauc", pem=again)
