"""Numbers, base64 and keys that no reader of them takes: each is refused with its own sentence."""

import io

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from ota.errors import RefusedBundleError
from ota.formats import archive, oms
from tests.factories.artefacts import Pki, tar
from tests.regressions import regression


@regression("V6", "base64 beyond ASCII, and other texts that are none, in a signature of a model folder")
@pytest.mark.parametrize("text", ["ü", "AA", "A A=", "\ud800", "=", None, 7, "日本"])
def test_a_text_that_is_no_base64_is_named(text):
    with pytest.raises(RefusedBundleError, match=r"A field of the signature is not base64\."):
        oms._base64(text)


@regression("V6", "a size in a tar header that is no octal number")
@pytest.mark.parametrize("size", [b"99999999", b"-0000001", b"0_0", b"x", b"\x80" + bytes(11)])
def test_a_size_that_is_no_octal_number_is_named(size):
    data = tar([("version", b"x")])
    wrong = data[:124] + size.ljust(12, b"\0") + data[136:]
    with pytest.raises(RefusedBundleError, match="whose size is not an octal number"):
        archive.demand_nothing_else(io.BytesIO(wrong), "The artifact")


@regression("V6", "a certificate whose key cannot be read, in a signature of a model folder")
def test_a_certificate_with_a_broken_key_signs_nothing(tmp_path):
    certificate = x509.load_pem_x509_certificate(Pki(tmp_path / "pki").pem("signer").encode())
    good = certificate.public_bytes(serialization.Encoding.DER)
    point = certificate.public_key().public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
    )
    broken = x509.load_der_x509_certificate(good.replace(point, point[:40] + bytes(len(point) - 40)))
    assert oms._public_key(certificate) is not None
    assert oms._public_key(broken) is None
    assert not oms._verifies(None, b"", b"")
