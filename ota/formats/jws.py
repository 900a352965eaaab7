"""Detached JSON Web Signatures over a file (RFC 7515 appendix F): ES256 only, and nothing in the header but that."""

import base64
import binascii
import hashlib
import re
from collections.abc import Sequence

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

from ota.errors import RefusedBundleError
from ota.formats.judgement import TrustAnchor
from pki.kernel import canonical
from pki.kernel.errors import InvalidError
from pki.kernel.public_keys import key_identity, read_pem

MAX_SIGNATURE = 4096
_COMPACT = re.compile(rb"([A-Za-z0-9_-]{1,400})\.\.([A-Za-z0-9_-]{86})")
_HALF = 32
#: ``crit``, ``b64``, ``jwk``, ``jku``, ``x5c`` and the like change what is verified or by which key: refused.
_ALLOWED = {"alg", "kid", "typ"}


def verify_jws(payload: bytes, signature: bytes, anchors: Sequence[TrustAnchor]) -> str:
    """Return the name of the anchor that has signed the payload.

    Args:
        payload: the whole file.
        signature: ``header..signature`` in base64url, the payload left out.
        anchors: P-256 public keys.

    Raises:
        RefusedBundleError: malformed, another algorithm, or signed by none of the anchors.
    """
    match = _COMPACT.fullmatch(signature.strip())
    if match is None:
        msg = "The signature is not a detached JWS in compact form (`header..signature`)."
        raise RefusedBundleError(msg)
    kid = _check_header(_decode(match[1]))
    raw = _decode(match[2])
    r, s = int.from_bytes(raw[:_HALF], "big"), int.from_bytes(raw[_HALF:], "big")
    der = utils.encode_dss_signature(r, s)
    digest = hashlib.sha256(match[1] + b"." + base64.urlsafe_b64encode(payload).rstrip(b"=")).digest()
    named = [anchor for anchor in anchors if kid in _names(anchor)]
    for anchor in named or anchors:
        if _signed_by(anchor, der, digest):
            return anchor.name
    msg = "No registered trust key has signed this file. Sign it with a registered key."
    raise RefusedBundleError(msg)


def _names(anchor: TrustAnchor) -> set[str]:
    """Return what a key id may be of a key: its name here, its identity, or its JWK thumbprint (RFC 7638)."""
    key = read_pem(anchor.pem)
    names = {anchor.name, key_identity(key)}
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        point = key.public_numbers()
        x, y = (
            base64.urlsafe_b64encode(number.to_bytes(_HALF, "big")).rstrip(b"=").decode()
            for number in (point.x, point.y)
        )
        jwk = canonical.dumps({"crv": "P-256", "kty": "EC", "x": x, "y": y})
        names.add(base64.urlsafe_b64encode(hashlib.sha256(jwk).digest()).rstrip(b"=").decode())
    return names


def _check_header(data: bytes) -> str:
    """Return the key id, a hint (RFC 7515, 4.1.4): one that names a registered key binds the signature to that key."""
    try:
        header = canonical.loads(data, max_bytes=300, max_depth=2)
    except InvalidError as error:
        msg = "The header of the signature is not JSON."
        raise RefusedBundleError(msg) from error
    if not isinstance(header, dict) or header.get("alg") != "ES256" or not set(header) <= _ALLOWED:
        msg = "The signature must be ES256 and may have no header fields but alg, kid and typ."
        raise RefusedBundleError(msg)
    if not all(isinstance(value, str) and value.isprintable() for value in header.values()):
        msg = "The header fields alg, kid and typ of the signature must be strings (RFC 7515, 4.1)."
        raise RefusedBundleError(msg)
    return str(header.get("kid", ""))


def _decode(text: bytes) -> bytes:
    try:
        data = base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4))
    except binascii.Error as error:
        msg = "The signature is not base64url."
        raise RefusedBundleError(msg) from error
    if base64.urlsafe_b64encode(data).rstrip(b"=") != text:
        msg = "The signature is not in its canonical base64url form."
        raise RefusedBundleError(msg)
    return data


def _signed_by(anchor: TrustAnchor, der: bytes, digest: bytes) -> bool:
    key = serialization.load_pem_public_key(anchor.pem.encode())
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        return False
    try:
        key.verify(der, digest, ec.ECDSA(utils.Prehashed(hashes.SHA256())))
    except InvalidSignature:
        return False
    return True
