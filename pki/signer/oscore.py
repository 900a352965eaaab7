"""The secrets of OSCORE contexts (RFC 8613, 3.1), derived from one key a domain that never leaves the vault."""

from contextlib import suppress

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from pki.kernel.errors import ConflictError
from pki.vault.store import Vault

PLACE = "oscore"
KID_BYTES = 5
#: Master Secret and Master Salt
LENGTH = 16 + 8
_PURPOSE = b"muster oscore 1"


def derive_secret(vault: Vault, domain: str, kid: bytes, certificate: bytes) -> bytes:
    """Return the secret of a context; the domain's key is made when it is first needed.

    Args:
        vault: holds the key.
        domain: slug.
        kid: Sender ID of the device.
        certificate: SHA-256 of the certificate that the context belongs to.
    """
    if not vault.has(domain, PLACE):
        with suppress(ConflictError):  # another connection was faster
            vault.create(domain, PLACE, ed25519.Ed25519PrivateKey.generate())
    # An Ed25519 key, because the vault keeps those: its 32 random bytes are used for nothing else.
    root = vault.online(domain, PLACE).private_bytes_raw()
    return HKDF(hashes.SHA256(), LENGTH, _PURPOSE, kid + certificate).derive(root)
