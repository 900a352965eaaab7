"""Certificates in header fields: from listed proxies only, once, whole, and issued by somebody known."""

import base64
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from fleet.gateway.client_cert_header import FORMS, LOOKALIKES, Proxies
from fleet.gateway.protocol import TransportPeer
from pki.kernel.errors import DeniedError, InvalidError
from tests.peers.pki import self_signed

pytestmark = pytest.mark.django_db
PROXY, STRANGER = TransportPeer(address="10.0.0.5"), TransportPeer(address="10.0.1.5")


@pytest.fixture
def leaf(enrol):
    return x509.load_der_x509_certificate(bytes(enrol().certificate.der))


def written(leaf, form):
    der = base64.b64encode(leaf.public_bytes(serialization.Encoding.DER))
    pem = quote(leaf.public_bytes(serialization.Encoding.PEM).decode()).encode()
    return {"rfc9440": b":" + der + b":", "haproxy": der, "nginx": pem}[form]


@pytest.mark.parametrize("form", FORMS)
def test_a_listed_proxy_hands_on_who_it_has_seen(leaf, form):
    found = Proxies(["10.0.0.0/24"], form).peer([(b"client-cert", written(leaf, form))], PROXY)
    assert found.certificate == leaf.public_bytes(serialization.Encoding.DER)
    assert len(found.fingerprint) == 64


def test_without_the_field_the_connection_itself_counts():
    assert Proxies(["10.0.0.5"], "rfc9440").peer([(b"host", b"x")], PROXY) is PROXY


@pytest.mark.parametrize("listed", [[], ["10.0.0.5"], ["192.0.2.0/24"]])
def test_from_anybody_else_it_is_refused(leaf, listed):
    with pytest.raises(DeniedError):
        Proxies(listed, "rfc9440").peer([(b"client-cert", written(leaf, "rfc9440"))], STRANGER)


def test_beside_a_real_certificate_it_is_refused(leaf):
    both = TransportPeer("a" * 64, b"der", "10.0.0.5")
    with pytest.raises(DeniedError):
        Proxies(["10.0.0.5"], "rfc9440").peer([(b"client-cert", written(leaf, "rfc9440"))], both)


@pytest.mark.parametrize("name", sorted(LOOKALIKES))
def test_what_looks_like_it_is_refused_even_from_a_listed_proxy(leaf, name):
    with pytest.raises(DeniedError):
        Proxies(["10.0.0.5"], "rfc9440").peer([(name, written(leaf, "rfc9440"))], PROXY)


def test_twice_or_too_long_is_refused(leaf):
    field = (b"client-cert", written(leaf, "rfc9440"))
    for fields in ([field, field], [(b"client-cert", b":" + b"A" * 9000 + b":")]):
        with pytest.raises(InvalidError):
            Proxies(["10.0.0.5"], "rfc9440").peer(fields, PROXY)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("value", [b"", b"x", b"::", b":AAAA:", b"%00", b":\xff:", b"SUCCESS"])
def test_garbage_is_refused(leaf, form, value):
    with pytest.raises(InvalidError):
        Proxies(["10.0.0.5"], form).peer([(b"client-cert", value)], PROXY)


def test_the_proxys_word_about_a_chain_counts_for_nothing(leaf, tmp_path):
    rogue = x509.load_pem_x509_certificate(self_signed(tmp_path, "rogue")[0].read_bytes())
    with pytest.raises(DeniedError, match="does not chain to a known CA"):
        Proxies(["10.0.0.5"], "rfc9440").peer([(b"client-cert", written(rogue, "rfc9440"))], PROXY)


@pytest.mark.parametrize(("listed", "form"), [(["everybody"], "rfc9440"), (["10.0.0.5"], "apache")])
def test_settings_that_make_no_sense_are_refused(listed, form):
    with pytest.raises(InvalidError):
        Proxies(listed, form)
