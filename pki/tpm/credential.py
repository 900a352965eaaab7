"""Make a credential that only one TPM can open, and check what its attestation key signs (Part 1, 24; Part 3, 12.6).

The labels and derivations are the library specification's; ``tpm2_activatecredential`` opens what is made here.
"""

import hashlib
import hmac
import secrets

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

from pki.kernel.errors import InvalidError
from pki.tpm import structures
from pki.tpm.structures import Public, Reader

SECRET_BYTES = 32
_DIGESTS: dict[str, hashes.HashAlgorithm] = {"sha256": hashes.SHA256(), "sha384": hashes.SHA384()}
_BY_NUMBER = {structures.SHA256: hashes.SHA256, structures.SHA384: hashes.SHA384}


def check_ek(ek: Public) -> None:
    """Refuse an endorsement key that could leave its TPM or sign.

    Raises:
        InvalidError: its attributes are not those of an endorsement key.
    """
    good = ek.has(structures.FIXED_TPM, structures.FIXED_PARENT, structures.RESTRICTED, structures.DECRYPT)
    if not good or ek.symmetric_bits not in {128, 256}:
        msg = "The endorsement key lacks the required attributes (fixedTPM, fixedParent, restricted, decrypt)."
        raise InvalidError(msg)


def check_ak(ak: Public) -> None:
    """Refuse an attestation key that could sign what no TPM has made.

    Raises:
        InvalidError: its attributes are not those of an attestation key.
    """
    needed = (structures.FIXED_TPM, structures.FIXED_PARENT, structures.ORIGIN, structures.RESTRICTED, structures.SIGN)
    if not ak.has(*needed) or ak.has(structures.DECRYPT):
        msg = "The attestation key must be restricted, for signing only, and fixed to this TPM."
        raise InvalidError(msg)


def check_device_key(key: Public) -> None:
    """Refuse a device key that could be copied out of the TPM.

    Raises:
        InvalidError: it was not made there, or may leave.
    """
    if not key.has(structures.FIXED_TPM, structures.FIXED_PARENT, structures.ORIGIN, structures.SIGN):
        msg = "The device's key must be created in this TPM and never leave it."
        raise InvalidError(msg)


def make_credential(ek: Public, name: bytes, secret: bytes) -> bytes:
    """Return TPM2B_ID_OBJECT || TPM2B_ENCRYPTED_SECRET.

    Args:
        ek: endorsement key, checked.
        name: of the attestation key; the TPM opens the credential only if it holds that key too.
        secret: at most 32 bytes.
    """
    digest = _DIGESTS[ek.hash_name]
    seed, encrypted = _seed(ek, digest)
    symmetric = _kdfa(ek.hash_name, seed, b"STORAGE", name, ek.symmetric_bits)
    encryptor = Cipher(algorithms.AES(symmetric), CFB(bytes(16))).encryptor()
    identity = encryptor.update(_sized(secret)) + encryptor.finalize()
    integrity = _kdfa(ek.hash_name, seed, b"INTEGRITY", b"", digest.digest_size * 8)
    outer = hmac.new(integrity, identity + name, ek.hash_name).digest()
    return _sized(_sized(outer) + identity) + _sized(encrypted)


def verify_signature(key: object, signature: bytes, data: bytes) -> None:
    """Check a TPMT_SIGNATURE.

    Raises:
        InvalidError: it is none of that key over that data.
    """
    reader = Reader(signature)
    scheme, number = reader.number(2), reader.number(2)
    if number not in _BY_NUMBER:
        msg = "A TPM's signature must use SHA-256 or SHA-384."
        raise InvalidError(msg)
    digest = _BY_NUMBER[number]()
    try:
        if scheme == structures.ECDSA and isinstance(key, ec.EllipticCurvePublicKey):
            r, s = (int.from_bytes(reader.sized(), "big") for _ in range(2))
            reader.end()
            key.verify(utils.encode_dss_signature(r, s), data, ec.ECDSA(digest))
            return
        if scheme == structures.RSASSA and isinstance(key, rsa.RSAPublicKey):
            value = reader.sized()
            reader.end()
            key.verify(value, data, padding.PKCS1v15(), digest)
            return
    except InvalidSignature as error:
        msg = "The attestation is not signed by the attestation key."
        raise InvalidError(msg) from error
    msg = "The attestation's signature scheme does not match its key."
    raise InvalidError(msg)


def _seed(ek: Public, digest: hashes.HashAlgorithm) -> tuple[bytes, bytes]:
    if isinstance(ek.key, rsa.RSAPublicKey):
        seed = secrets.token_bytes(digest.digest_size)
        oaep = padding.OAEP(padding.MGF1(digest), digest, b"IDENTITY\x00")
        return seed, ek.key.encrypt(seed, oaep)
    ephemeral = ec.generate_private_key(ek.key.curve)
    shared = ephemeral.exchange(ec.ECDH(), ek.key)
    size = (ek.key.curve.key_size + 7) // 8
    mine = ephemeral.public_key().public_numbers()
    x, y = mine.x.to_bytes(size, "big"), mine.y.to_bytes(size, "big")
    theirs = ek.key.public_numbers().x.to_bytes(size, "big")
    return _kdfe(ek.hash_name, shared, x, theirs, digest.digest_size * 8), _sized(x) + _sized(y)


def _kdfa(name: str, key: bytes, label: bytes, context: bytes, bits: int) -> bytes:
    key_material, counter = b"", 0
    while len(key_material) * 8 < bits:
        counter += 1
        block = counter.to_bytes(4, "big") + label + b"\x00" + context + bits.to_bytes(4, "big")
        key_material += hmac.new(key, block, name).digest()
    return key_material[: bits // 8]


def _kdfe(name: str, shared: bytes, party_u: bytes, party_v: bytes, bits: int) -> bytes:
    key_material, counter = b"", 0
    while len(key_material) * 8 < bits:
        counter += 1
        block = counter.to_bytes(4, "big") + shared + b"IDENTITY\x00" + party_u + party_v
        key_material += hashlib.new(name, block).digest()
    return key_material[: bits // 8]


def _sized(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data
