"""Revocation of vendors' signers: a trust key says how, its lists only get newer, and silence is shown."""

import io

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from django.core.management import call_command

from ota.errors import RefusedBundleError
from ota.formats import cms
from ota.models import TrustKey
from ota.services import trust_keys
from pki.kernel import clock
from pki.kernel.errors import InvalidError
from tests.factories.artefacts import DAY, PEM, Pki
from tests.factories.ground import system
from tests.regressions import regression

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def vendor(tmp_path_factory):
    return Pki(tmp_path_factory.mktemp("vendor"))


@pytest.fixture
def key(domain, vendor):
    return trust_keys.add(actor=system(domain), name="acme", format="swu", pem=vendor.pem("signing-ca"))


def judged(key, vendor, name="signer"):
    row = TrustKey.objects.get(pk=key.pk)
    return cms.demand_signer(vendor.made[name][1], trust_keys.anchor_of(row), int(clock.now().timestamp()))


def by_root(vendor, *revoked):
    private, certificate = vendor.made["root"]
    builder = x509.CertificateRevocationListBuilder().issuer_name(certificate.subject)
    builder = builder.last_update(clock.now() - DAY).next_update(clock.now() + 30 * DAY)
    for name in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(vendor.made[name][1].serial_number)
        builder = builder.add_revoked_certificate(entry.revocation_date(clock.now() - DAY).build())
    return builder.sign(private, hashes.SHA256()).public_bytes(PEM).decode()


@regression("V2", "no CRL registered: a stated choice, shown")
def test_silence_about_revocation_is_shown(domain, key, vendor, tmp_path):
    assert (key.revocation_state, judged(key, vendor, "revoked")["name"]) == ("unstated", "acme")
    said = io.StringIO()
    call_command("bundle", "--domain", domain.slug, "keys", stdout=said)
    assert "NOT detected" in said.getvalue()
    trust_keys.choose_revocation(actor=system(domain), key=key, revocation="crl")
    with pytest.raises(RefusedBundleError, match="No CRL of acme is registered"):
        judged(key, vendor)
    (tmp_path / "crl.pem").write_text(vendor.crl("revoked"))
    call_command("bundle", "--domain", domain.slug, "crl", "acme", "--crl", str(tmp_path / "crl.pem"), stdout=said)
    assert judged(key, vendor)["name"] == "acme"
    with pytest.raises(RefusedBundleError, match="was revoked"):
        judged(key, vendor, "revoked")
    with pytest.raises(InvalidError, match="is registered and in use"):
        trust_keys.choose_revocation(actor=system(domain), key=key, revocation="none")
    bare = trust_keys.add(
        actor=system(domain), name="none", format="rauc", pem=vendor.pem("signing-ca"), revocation="none"
    )
    assert bare.revocation_state == "none"


@regression("V2", "a signing CA that its own issuer revoked")
def test_a_revoked_signing_ca_signs_nothing(domain, key, vendor):
    who, root = system(domain), vendor.pem("root")
    with pytest.raises(InvalidError, match="did not issue"):
        trust_keys.renew_crl(actor=who, key=key, crl=by_root(vendor), issuer=vendor.pem("device-ca"))
    trust_keys.renew_crl(actor=who, key=key, crl=by_root(vendor), issuer=root)
    assert judged(key, vendor)["name"] == "acme"
    trust_keys.renew_crl(actor=who, key=key, crl=by_root(vendor, "signing-ca"), issuer=root)
    with pytest.raises(RefusedBundleError, match="signing CA's certificate was revoked"):
        judged(key, vendor)


@regression("V2", "a partial list that an older version had taken")
def test_a_part_that_was_kept_proves_nothing(key, vendor):
    private, certificate = vendor.made["signing-ca"]
    builder = x509.CertificateRevocationListBuilder().issuer_name(certificate.subject)
    builder = builder.last_update(clock.now() - DAY).next_update(clock.now() + 30 * DAY)
    builder = builder.add_extension(x509.DeltaCRLIndicator(1), critical=True)
    crl = builder.sign(private, hashes.SHA256()).public_bytes(PEM).decode()
    TrustKey.objects.filter(pk=key.pk).update(crl=crl)
    with pytest.raises(RefusedBundleError, match="delta CRL"):
        judged(key, vendor)
