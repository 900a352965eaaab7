"""Hardware models, tokens, enrolled devices."""

from dataclasses import dataclass

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from devices.proofs.claim import Shown
from devices.services import enrolment, hardware, tokens
from pki.x509 import parse_csr as parsed
from tests.factories.ground import system


@dataclass
class Enrolled:
    """An enrolled device with its key."""

    device: object
    certificate: object
    key: ec.EllipticCurvePrivateKey


def csr(name="dev-1", key=None, curve=None):
    """Return a certificate request in DER and its key."""
    key = key or ec.generate_private_key(curve or ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.DER), key


@pytest.fixture
def hardware_model(domain):
    """Return a hardware model that takes small models."""
    return hardware.register_model(
        actor=system(domain), name="node", vendor="acme.example", flash_model=100_000, arena=40_000
    )


@pytest.fixture
def enrol(domain, hardware_model):
    """Return a function that enrols a device by name."""

    def run(name="dev-1", model=None):
        _, secret = tokens.create(actor=system(domain), hardware_model=model or hardware_model, device_name=name)
        request, key = csr(name)
        done = enrolment.enrol(domain=domain, shown=Shown(secret), csr=parsed(request), via="test")
        return Enrolled(done.device, done.certificate, key)

    return run
