"""Revocation lists of others: what says only a part never stands for the whole."""

import datetime as dt

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from pki.kernel import clock, revocation
from pki.kernel.errors import InvalidError
from tests.regressions import regression

DAY, PEM = dt.timedelta(days=1), serialization.Encoding.PEM


class Ca:
    """A CA that signs lists."""

    def __init__(self, *, crl_sign=True):
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = self.issue(crl_sign=crl_sign)

    def issue(self, *extensions, crl_sign=True):
        now, name = clock.now(), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Signing CA")])
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(self.key.public_key())
        builder = builder.serial_number(7).not_valid_before(now - DAY).not_valid_after(now + 90 * DAY)
        usage = x509.KeyUsage(False, False, False, False, False, True, crl_sign, False, False)
        for value in (usage, *extensions):
            builder = builder.add_extension(value, critical=False)
        return builder.sign(self.key, hashes.SHA256())

    def crl(self, *extensions, serials=(), age=1, life=10, entry=None, digest=None):
        now = clock.now().replace(microsecond=0)
        builder = x509.CertificateRevocationListBuilder().issuer_name(self.certificate.subject)
        builder = builder.last_update(now - age * DAY).next_update(now + (life - age) * DAY)
        for value, critical in extensions:
            builder = builder.add_extension(value, critical=critical)
        for serial in serials:
            made = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now - DAY)
            builder = builder.add_revoked_certificate((made.add_extension(*entry) if entry else made).build())
        return builder.sign(self.key, digest or hashes.SHA256()).public_bytes(PEM).decode()


def number(value):
    return x509.CRLNumber(value), False


def idp(url=None, **flags):
    wish = {"only_contains_user_certs": False, "only_contains_ca_certs": False, "only_some_reasons": None}
    wish |= {"indirect_crl": False, "only_contains_attribute_certs": False, "relative_name": None, **flags}
    name = [x509.UniformResourceIdentifier(url)] if url else None
    return x509.IssuingDistributionPoint(full_name=name, **wish), True


@pytest.fixture(scope="module")
def ca():
    return Ca()


REASONS = frozenset({x509.ReasonFlags.key_compromise})
UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
OTHER = [x509.DirectoryName(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Other")]))]
PARTS = {
    "delta": [(x509.DeltaCRLIndicator(1), True)],
    "CA certificates only": [idp(only_contains_ca_certs=True)],
    "one reason": [idp(only_some_reasons=REASONS)],
    "indirect": [idp(indirect_crl=True)],
    "attribute certificates": [idp(only_contains_attribute_certs=True)],
    "unknown critical": [(UNKNOWN, True)],
}


@regression(
    "V2", "delta CRLs, CRLs of some reasons, of CA certificates only, indirect ones, unknown critical extensions"
)
@pytest.mark.parametrize("kind", PARTS)
def test_a_list_that_is_a_part_is_refused(ca, kind):
    with pytest.raises(InvalidError):
        revocation.read_lists(ca.crl(number(2), *PARTS[kind]), ca.certificate)


@regression("V2", "entries of another issuer, with unknown critical extensions, or removed again")
@pytest.mark.parametrize(
    "entry",
    [(x509.CertificateIssuer(OTHER), True), (UNKNOWN, True), (x509.CRLReason(x509.ReasonFlags.remove_from_crl), False)],
)
def test_an_entry_that_means_something_else_is_refused(ca, entry):
    with pytest.raises(InvalidError):
        revocation.read_lists(ca.crl(serials=[9], entry=entry), ca.certificate)


def test_a_complete_list_is_taken(ca):
    entry = (x509.CRLReason(x509.ReasonFlags.key_compromise), False)
    for further in ([], [number(3)], [(UNKNOWN, False)], [idp(only_contains_user_certs=True)]):
        [one] = revocation.read_lists(ca.crl(*further, serials=[9], entry=entry), ca.certificate)
        assert (one.serials, one.points) == ({9}, frozenset())
    with pytest.raises(InvalidError, match="a part"):
        revocation.read_lists(ca.crl(idp(only_contains_user_certs=True)), ca.certificate, of_authorities=True)
    assert revocation.read_lists(ca.crl(idp(only_contains_ca_certs=True)), ca.certificate, of_authorities=True)


@regression("V2", "a CRL by a CA that may not sign CRLs, by another key, or with SHA-1")
def test_who_may_sign_a_list(ca):
    mute, other = Ca(crl_sign=False), Ca()
    for text, issuer in ((mute.crl(), mute.certificate), (other.crl(), ca.certificate), ("", ca.certificate)):
        with pytest.raises(InvalidError):
            revocation.read_lists(text, issuer)


@regression("V2", "CRLNumber that falls, stays or vanishes; older and future dates")
def test_numbers_and_dates_rise(ca):
    def lists(*further, **wish):
        return revocation.read_lists(ca.crl(*further, **wish), ca.certificate)

    known = lists(number(5))
    for older in (lists(number(4)), lists(number(5), serials=[1]), lists(serials=[1]), lists(number(6), age=3)):
        with pytest.raises(InvalidError):
            revocation.succeed_lists(known, older)
    assert revocation.succeed_lists(known, known) == known
    [one] = revocation.succeed_lists(known, lists(number(6), age=0.5))
    assert one.number == 6
    for odd in (lists(age=20), lists(age=-1)):
        with pytest.raises(InvalidError):
            revocation.demand_current(odd, clock.now())


@regression("V2", "shards of several distribution points; a shard instead of the complete list")
def test_a_shard_speaks_for_its_own_certificates_only(ca):
    urls = [f"http://ca.example/{name}.crl" for name in "ab"]
    text = "".join(ca.crl(number(1), idp(url)) for url in urls)
    shards = revocation.read_lists(text, ca.certificate)
    whole = revocation.read_lists(ca.crl(number(1), serials=[9]), ca.certificate)
    point = x509.DistributionPoint([x509.UniformResourceIdentifier(urls[1])], None, None, None)
    named, bare = ca.issue(x509.CRLDistributionPoints([point])), ca.issue()
    assert revocation.covering_lists(named, shards) == [shards[1]]
    assert revocation.covering_lists(bare, shards) == []
    both = revocation.succeed_lists(whole, shards)
    assert whole[0] in both
    assert whole[0] in revocation.covering_lists(bare, both)
    with pytest.raises(InvalidError, match="same distribution point"):
        revocation.read_lists(text + ca.crl(number(2), idp(urls[0])), ca.certificate)
