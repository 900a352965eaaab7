"""Identify public keys independent of their encoding: PEM, hex, raw, COSE, TUF.

The identity of a key is the SHA-256 of its canonical SubjectPublicKeyInfo (RFC 5280, 4.1.2.7; uncompressed points as in
RFC 5480, 2.2). Two texts are the same key when their identities are equal; key ids and texts are never compared.
"""

import functools
import hashlib
from collections.abc import Mapping
from typing import TypedDict

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from pki.kernel import edwards
from pki.kernel.errors import InvalidError
from pki.kernel.pem import demand_one_block

PublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey
MAX_TEXT = 16 * 1024
LEAST_RSA = 2048
ED25519_SIZE = 32
#: TUF key type and scheme -> what the bytes must be: an Ed25519 key, RSA, or a curve
_TUF = {
    ("ed25519", "ed25519"): "ed25519",
    ("ecdsa", "ecdsa-sha2-nistp256"): "secp256r1",
    ("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp256"): "secp256r1",
    ("ecdsa", "ecdsa-sha2-nistp384"): "secp384r1",
    ("ecdsa-sha2-nistp384", "ecdsa-sha2-nistp384"): "secp384r1",
    ("ecdsa", "ecdsa-sha2-nistp521"): "secp521r1",
    ("rsa", "rsassa-pss-sha256"): "rsa",
    ("rsa", "rsassa-pss-sha384"): "rsa",
    ("rsa", "rsassa-pss-sha512"): "rsa",
}
_HYBRID = {0x06: 0, 0x07: 1}
#: RFC 9053, 7: key types and curves of COSE keys
_COSE_KTY, _COSE_CURVE, _COSE_X, _COSE_Y = 1, -1, -2, -3
_COSE_OKP, _COSE_EC2, _COSE_P256, _COSE_ED25519 = 1, 2, 1, 6


class TufKey(TypedDict):
    """A TUF key object with its id; ``keyval`` holds ``public``: hex for Ed25519, else PEM."""

    keyid: str
    keytype: str
    scheme: str
    keyval: dict[str, str]


def canonical_spki(key: PublicKey) -> bytes:
    """Return the DER SubjectPublicKeyInfo of a key, the same bytes for every spelling of it."""
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def key_identity(key: PublicKey) -> str:
    """Return the identity of a key: SHA-256 of its canonical SubjectPublicKeyInfo, in lower-case hex."""
    return hashlib.sha256(canonical_spki(key)).hexdigest()


def short_fingerprint(identity: str) -> str:
    """Return the first 128 bits of an identity as people compare them: eight groups of four hex digits."""
    return "-".join(identity[at : at + 4] for at in range(0, 32, 4))


def describe_type(key: PublicKey) -> str:
    """Return type and size of a key for people."""
    if isinstance(key, ec.EllipticCurvePublicKey):
        return {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}.get(key.curve.name, key.curve.name)
    return f"RSA {key.key_size}" if isinstance(key, rsa.RSAPublicKey) else "Ed25519"


def read_pem(pem: str) -> PublicKey:
    """Return the key of a PEM text; line ends, spaces and surrounding text do not matter.

    Raises:
        InvalidError: it holds no usable public key.
    """
    if len(pem) > MAX_TEXT:
        msg = f"A public key in PEM has at most {MAX_TEXT} characters (got {len(pem)})."
        raise InvalidError(msg)
    data = demand_one_block(pem, "PUBLIC KEY", "RSA PUBLIC KEY", what="The key")
    try:
        key = serialization.load_pem_public_key(data)
    except (ValueError, TypeError, UnsupportedAlgorithm, UnicodeError) as error:
        msg = "This is not a public key in PEM. Expected `-----BEGIN PUBLIC KEY-----`."
        raise InvalidError(msg) from error
    return accept_key(key)


def read_raw(data: bytes) -> PublicKey:
    """Return the key of raw bytes: 32 of Ed25519, or a P-256 point, compressed, uncompressed or hybrid (SEC 1, 2.3.3).

    Raises:
        InvalidError: it is none of them.
    """
    try:
        if len(data) == ED25519_SIZE:
            return accept_key(ed25519.Ed25519PublicKey.from_public_bytes(data))
        if data[:1] and data[0] in _HYBRID:
            data = _unhybrid(data)
        return accept_key(ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), data))
    except ValueError as error:
        msg = "A raw public key must be 32 bytes (Ed25519), or a P-256 point of 33 or 65 bytes."
        raise InvalidError(msg) from error


def _unhybrid(data: bytes) -> bytes:
    if data[-1] & 1 != _HYBRID[data[0]]:
        raise ValueError(data[0])
    return b"\x04" + data[1:]


def read_cose(value: Mapping[object, object]) -> PublicKey:
    """Return the key of a COSE_Key map (RFC 9052, 7; RFC 9053, 7): EC2 on P-256, or OKP with Ed25519.

    Raises:
        InvalidError: another kind of key, or malformed.
    """
    kind, x, y = (value.get(_COSE_KTY), value.get(_COSE_CURVE)), value.get(_COSE_X), value.get(_COSE_Y)
    if kind == (_COSE_OKP, _COSE_ED25519) and isinstance(x, bytes) and len(x) == ED25519_SIZE and y is None:
        return read_raw(x)
    if kind == (_COSE_EC2, _COSE_P256) and isinstance(x, bytes) and len(x) == ED25519_SIZE:
        if isinstance(y, bool):
            return read_raw((b"\x03" if y else b"\x02") + x)
        if isinstance(y, bytes) and len(y) == ED25519_SIZE:
            return read_raw(b"\x04" + x + y)
    msg = "This COSE key is neither EC2 on P-256 nor OKP with Ed25519."
    raise InvalidError(msg)


@functools.lru_cache(maxsize=512)
def read_tuf(keytype: str, scheme: str, public: str) -> PublicKey:
    """Return the key of TUF's three texts.

    Args:
        keytype: as ``ed25519``.
        scheme: as ``ecdsa-sha2-nistp256``.
        public: hex for Ed25519, else PEM.

    Raises:
        InvalidError: a type that is not accepted, or the bytes are of another one.
    """
    key_class = _TUF.get((keytype, scheme))
    if key_class is None:
        msg = f"A TUF key of type {keytype[:40]!r} with scheme {scheme[:40]!r} is not accepted."
        raise InvalidError(msg)
    key = _read_hex(public) if key_class == "ed25519" else read_pem(public)
    found = key.curve.name if isinstance(key, ec.EllipticCurvePublicKey) else None
    found = found or ("rsa" if isinstance(key, rsa.RSAPublicKey) else "ed25519")
    if found != key_class:
        msg = f"The TUF key declares {scheme}, but its key bytes are {describe_type(key)}."
        raise InvalidError(msg)
    return key


def _read_hex(public: str) -> PublicKey:
    try:
        data = bytes.fromhex(public) if len(public) <= MAX_TEXT else b""
    except ValueError:
        data = b""
    if len(data) != ED25519_SIZE:
        msg = "An Ed25519 key must be 32 bytes in hex."
        raise InvalidError(msg)
    return read_raw(data)


def read_tuf_fields(fields: object) -> PublicKey:
    """Return the key of a TUF key object: ``{"keytype", "scheme", "keyval": {"public"}}``.

    Raises:
        InvalidError: a field is missing or malformed, or see ``read_tuf``.
    """
    try:
        texts = fields["keytype"], fields["scheme"], fields["keyval"]["public"]  # type: ignore[index]  # because any JSON may stand there
    except (KeyError, TypeError, IndexError) as error:
        msg = "A TUF key must have keytype, scheme and keyval with public."
        raise InvalidError(msg) from error
    if not all(isinstance(text, str) for text in texts):
        msg = "keytype, scheme and public of a TUF key must be strings."
        raise InvalidError(msg)
    return read_tuf(*texts)


def accept_key(key: object) -> PublicKey:
    """Return a key that can verify signatures: a known type, and no point for which anybody can sign.

    Raises:
        InvalidError: it cannot.
    """
    if isinstance(key, ec.EllipticCurvePublicKey):
        return key
    if isinstance(key, rsa.RSAPublicKey) and key.key_size >= LEAST_RSA:
        return key
    if isinstance(key, ed25519.Ed25519PublicKey):
        raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        if edwards.is_strong(raw):
            return key
        msg = "This Ed25519 key is not a point of prime order in canonical form: others could forge signatures for it."
        raise InvalidError(msg)
    msg = "A public key must be Ed25519, on a NIST curve, or RSA of at least 2048 bits."
    raise InvalidError(msg)
