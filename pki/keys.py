"""Public keys that this CA accepts: their types, their hash, and signature verification. Plain values, no I/O."""

from typing import Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from pki.kernel.public_keys import canonical_spki, key_identity

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey

#: what a profile may allow: name -> what people read
KEY_TYPES = {"p256": "P-256", "p384": "P-384", "rsa": "RSA of 2048 to 4096 bits", "ed25519": "Ed25519"}
LEAST_RSA, MOST_RSA = 2048, 4096
_CURVES = {"secp256r1": "p256", "secp384r1": "p384"}


def key_type(key: object) -> str:
    """Return the type of a public key as ``KEY_TYPES`` names it, or an empty word for one that is not accepted."""
    if isinstance(key, ec.EllipticCurvePublicKey):
        return _CURVES.get(key.curve.name, "")
    if isinstance(key, rsa.RSAPublicKey):
        # A small or even exponent makes signatures that others can make too.
        sound = LEAST_RSA <= key.key_size <= MOST_RSA and key.public_numbers().e >= 65537  # noqa: PLR2004  because FIPS 186 says so
        return "rsa" if sound else ""
    return "ed25519" if isinstance(key, ed25519.Ed25519PublicKey) else ""


def spki(key: PublicKey) -> bytes:
    """Return the DER SubjectPublicKeyInfo of a key."""
    return canonical_spki(key)


def spki_sha256(key: PublicKey) -> str:
    """Return the hex SHA-256 of a key's SubjectPublicKeyInfo: its identity, however it was written."""
    return key_identity(key)


def is_signed_by(key: object, signature: bytes, payload: bytes) -> bool:
    """Return whether a key signed a payload: ECDSA with the curve's hash, RSA PKCS#1 v1.5 with SHA-256, Ed25519."""
    try:
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, payload, ec.ECDSA(curve_hash(key)))
        elif isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, payload, padding.PKCS1v15(), hashes.SHA256())
        elif isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, payload)
        else:
            return False
    except InvalidSignature:
        return False
    return True


class HasCurve(Protocol):
    """A key on a curve, public or private, in a file or a token."""

    @property
    def curve(self) -> ec.EllipticCurve:
        """Return its curve."""


def curve_hash(key: HasCurve) -> hashes.SHA256 | hashes.SHA384:
    """Return the hash that belongs to a curve (RFC 5480, section 4)."""
    return hashes.SHA384() if key.curve.name == "secp384r1" else hashes.SHA256()
