"""Name constraints of an issuing CA: permitted and excluded, DNS names and IP addresses."""

import ipaddress
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from pki import constraints
from pki.kernel import clock
from pki.kernel.errors import InvalidError
from tests.regressions import regression


def ca(permitted, excluded):
    key, now = ec.generate_private_key(ec.SECP256R1()), clock.now()
    builder = x509.CertificateBuilder().subject_name(x509.Name([])).issuer_name(x509.Name([]))
    builder = builder.public_key(key.public_key()).serial_number(7).not_valid_before(now)
    trees = x509.NameConstraints(permitted, excluded)
    return (
        builder.not_valid_after(now + timedelta(days=1)).add_extension(trees, critical=True).sign(key, hashes.SHA256())
    )


def dns(name):
    return x509.DNSName(name)


def ip(text):
    return x509.IPAddress(ipaddress.ip_network(text) if "/" in text else ipaddress.ip_address(text))


@regression("V6", "excluded DNS subtrees and IP name constraints of an issuing CA")
@pytest.mark.parametrize(
    ("permitted", "excluded", "good", "bad"),
    [
        ([dns("a.example")], None, [dns("x.a.example"), dns("A.example"), ip("192.0.2.1")], [dns("b.example")]),
        (None, [dns("a.example")], [dns("b.example"), dns("xa.example")], [dns("a.example"), dns("x.A.example")]),
        ([dns("example")], [dns("a.example")], [dns("b.example")], [dns("x.a.example"), dns("other")]),
        ([ip("192.0.2.0/24")], None, [ip("192.0.2.7"), dns("x")], [ip("198.51.100.1"), ip("2001:db8::1")]),
        (None, [ip("192.0.2.0/24"), ip("2001:db8::/32")], [ip("198.51.100.1")], [ip("192.0.2.7"), ip("2001:db8::1")]),
        (None, [dns("")], [ip("192.0.2.7")], [dns("any")]),
    ],
)
def test_a_name_is_within_what_is_permitted_and_not_excluded(permitted, excluded, good, bad):
    parent = ca(permitted, excluded)
    constraints.check_names(parent, good)
    for name in bad:
        with pytest.raises(InvalidError, match="may not certify"):
            constraints.check_names(parent, [name])
