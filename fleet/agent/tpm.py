"""A device key inside a TPM 2.0: the disk has only a blob for this TPM, so a stolen disk is useless.

The work is OpenSSL's with its tpm2 provider, which makes, signs and shakes hands inside the TPM. Python's ``ssl``
takes the provider from the configuration that OpenSSL reads when a process begins: hence ``started_anew``. The TPM is
reached through a resource manager (the kernel's ``device:/dev/tpmrm0``, or ``tabrmd:``): a bare one has too few places
for the objects of one handshake.
"""

import os
import subprocess
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from fleet.agent.errors import TransportError
from pki.kernel import files

#: digests and ciphers stay outside: a TPM computes them slowly, and has few places for those under way
_CONFIGURATION = """openssl_conf = init
[init]
providers = providers
alg_section = algorithms
[algorithms]
default_properties = ?provider=tpm2,tpm2.digest!=yes,tpm2.cipher!=yes
[providers]
default = usual
tpm2 = chip
[usual]
activate = 1
[chip]
activate = 1
"""
#: ecdsa-with-SHA256, without parameters (RFC 5758, 3.2); the provider's own requests carry a NULL there
_ALGORITHM = bytes.fromhex("300a06082a8648ce3d040302")
_VERSION, _NO_ATTRIBUTES = bytes.fromhex("020100"), bytes.fromhex("a000")
_SEQUENCE, _BIT_STRING = 0x30, 0x03
_HEAD = b"-----BEGIN TSS2 PRIVATE KEY-----"
PATIENCE = 60.0


def tpm_environment(folder: Path, tcti: str) -> dict[str, str]:
    """Return the environment in which OpenSSL uses a TPM. Write its configuration to the device's disk.

    Args:
        folder: the device's disk.
        tcti: TCTI of the TPM, such as ``device:/dev/tpmrm0``.
    """
    path = files.private_folder(folder) / "openssl-tpm2.cnf"
    files.write_private(path, _CONFIGURATION.encode())
    return {**os.environ, "OPENSSL_CONF": str(path), "TPM2OPENSSL_TCTI": tcti}


def started_anew(folder: Path, tcti: str, command: list[str]) -> None:
    """Replace this process by one whose OpenSSL uses the TPM, unless it is one already."""
    environment = tpm_environment(folder, tcti)
    if dict(os.environ) != environment:
        os.execve(command[0], command, environment)  # noqa: S606  because it is this very program again


class TpmKey:
    """A P-256 key that never leaves its TPM.

    Args:
        folder: the device's disk; ``device.tss2`` is made there at first use.
        tcti: TCTI of the TPM.

    Raises:
        TransportError: the TPM, or OpenSSL's provider for it, does not answer, or the blob is another TPM's.
    """

    def __init__(self, folder: Path, tcti: str) -> None:
        self.path = files.private_folder(folder) / "device.tss2"
        self._environment = tpm_environment(folder, tcti)
        if not self.path.exists():
            pem = self._openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "group:P-256")
            if not pem.startswith(_HEAD):
                msg = "OpenSSL created a key outside the TPM. Install its tpm2 provider (Debian: tpm2-openssl)"
                raise TransportError(msg)
            files.write_private(self.path, pem)
        loaded = serialization.load_pem_public_key(self._openssl("pkey", "-in", str(self.path), "-pubout"))
        if not isinstance(loaded, ec.EllipticCurvePublicKey):
            msg = f"{self.path} must contain an elliptic curve key."
            raise TypeError(msg)
        self.public = loaded

    def request(self, name: str) -> bytes:
        """Return a certificate request (PKCS#10, DER) for this key."""
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]).public_bytes()
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        spki = self.public.public_bytes(serialization.Encoding.DER, form)
        body = _der(_SEQUENCE, _VERSION, subject, spki, _NO_ATTRIBUTES)
        return _der(_SEQUENCE, body, _ALGORITHM, _der(_BIT_STRING, b"\0", self.sign(body)))

    def sign(self, payload: bytes) -> bytes:
        """Return an ECDSA signature with SHA-256 in DER."""
        return self._openssl("dgst", "-sha256", "-sign", str(self.path), given=payload)

    def _openssl(self, *arguments: str, given: bytes = b"") -> bytes:
        command = ["openssl", *arguments]
        try:
            done = subprocess.run(  # noqa: S603  because the program is fixed
                command, env=self._environment, input=given, capture_output=True, check=True, timeout=PATIENCE
            )
        except (OSError, subprocess.SubprocessError) as error:
            said = getattr(error, "stderr", None) or b""
            msg = f"the TPM operation {arguments[0]} failed: {said[-200:].decode(errors='replace') or error}"
            raise TransportError(msg) from error
        return done.stdout


def _der(tag: int, *parts: bytes) -> bytes:
    """Return one DER element around others."""
    body = b"".join(parts)
    size = len(body).to_bytes((len(body).bit_length() + 7) // 8 or 1)
    return bytes([tag]) + (size if len(body) < 0x80 else bytes([0x80 | len(size)]) + size) + body  # noqa: PLR2004  because DER says so
