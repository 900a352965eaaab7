"""The device's private key: generated on the device, and never exported."""

from pathlib import Path
from typing import Protocol

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from pki.kernel import files
from pki.kernel.pem import demand_one_block

KINDS = ("PRIVATE KEY", "EC PRIVATE KEY")


class DeviceKey(Protocol):
    """A P-256 key in a file (``FileKey``) or in a TPM (``tpm.TpmKey``)."""

    @property
    def path(self) -> Path:
        """Return the file that OpenSSL loads it from."""

    @property
    def public(self) -> ec.EllipticCurvePublicKey:
        """Return the public key."""

    def request(self, name: str) -> bytes:
        """Return a certificate request (PKCS#10, DER) for this key."""

    def sign(self, payload: bytes) -> bytes:
        """Return an ECDSA signature with SHA-256 in DER."""


class FileKey:
    """A P-256 key in a file of the device's disk.

    Args:
        folder: the disk; ``device.key`` is created there at first use.
    """

    def __init__(self, folder: Path) -> None:
        self.path = files.private_folder(folder) / "device.key"
        if not self.path.exists():
            key = ec.generate_private_key(ec.SECP256R1())
            form = serialization.PrivateFormat.PKCS8
            pem = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
            files.write_private(self.path, pem)
        loaded = serialization.load_pem_private_key(
            demand_one_block(self.path.read_bytes(), *KINDS, what=str(self.path)), None
        )
        if not isinstance(loaded, ec.EllipticCurvePrivateKey):
            msg = f"{self.path} must contain an elliptic curve key."
            raise TypeError(msg)
        self._key = loaded

    @property
    def public(self) -> ec.EllipticCurvePublicKey:
        """Return the public key."""
        return self._key.public_key()

    def request(self, name: str) -> bytes:
        """Return a certificate request (PKCS#10, DER) for this key."""
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        csr = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(self._key, hashes.SHA256())
        return csr.public_bytes(serialization.Encoding.DER)

    def sign(self, payload: bytes) -> bytes:
        """Return an ECDSA signature with SHA-256 in DER."""
        return self._key.sign(payload, ec.ECDSA(hashes.SHA256()))
