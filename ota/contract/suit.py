"""SUIT manifests for microcontrollers (draft-ietf-suit-manifest-34, RFC 9124): one component, signed by several people.

An envelope is CBOR tag 107 over an authentication wrapper and a manifest. The wrapper holds the manifest's digest and a
COSE_Sign1 (RFC 9052, detached) of each person over it: ES256 or ESP256 by a P-256 key, EdDSA or Ed25519 by an Ed25519
key (RFC 9053, RFC 9864: the newer names mean the same arithmetic). A device demands as many different people as its
factory set it. Only one form is written and read: anything that differs by a byte is refused, so that nothing has
to be interpreted on a device with little memory.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self
from uuid import UUID

import cbor2
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, utils

from pki.kernel import cbor, intake
from pki.kernel.errors import InvalidError
from pki.kernel.public_keys import key_identity

MAX_ENVELOPE = 4096
MOST_SIGNATURES = 8
URI = "/v1/blob/image"
_ENVELOPE, _SIGN1, _SHA256 = 107, 18, -16
ES256, EDDSA, ESP256, ED25519 = -7, -8, -9, -19
#: algorithm -> the only kind of key that may be used with it
_KEYS: Mapping[int, type] = {
    ES256: ec.EllipticCurvePublicKey,
    ESP256: ec.EllipticCurvePublicKey,
    EDDSA: ed25519.Ed25519PublicKey,
    ED25519: ed25519.Ed25519PublicKey,
}
_HALF = 32
Key = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey
#: keys of the manifest, directives, conditions and parameters (draft-34, section 16)
_VERSION, _SEQUENCE, _COMMON, _VALIDATE, _INSTALL = 1, 2, 3, 7, 20
_COMPONENTS, _SHARED = 2, 4
_OVERRIDE, _FETCH, _IS_VENDOR, _IS_CLASS, _IS_IMAGE = 20, 21, 1, 2, 3
_P_VENDOR, _P_CLASS, _P_DIGEST, _P_SIZE, _P_URI = 1, 2, 3, 14, 21
_REPORT_ALL, _REPORT_FAILURE = 15, 2


class CoseSignature(bytes):
    """64 bytes, and the COSE algorithm that the protected header names; plain bytes mean ES256."""

    algorithm: int

    def __new__(cls, data: bytes, algorithm: int = ES256) -> Self:
        """Return a signature of an algorithm."""
        manifest = super().__new__(cls, data)
        manifest.algorithm = algorithm
        return manifest


@dataclass(frozen=True, slots=True)
class SuitImage:
    """What a device must install.

    Args:
        sequence: higher than that of every manifest before; unix time of its making.
        vendor: RFC 9124 vendor id.
        hardware: RFC 9124 class id.
        component: slot on the device.
        sha256: of the image, 32 bytes.
        size: of the image, in bytes.
    """

    sequence: int
    vendor: UUID
    hardware: UUID
    component: str
    sha256: bytes
    size: int


def suit_images(bundle: Mapping[str, object], sequence: int) -> dict[str, SuitImage]:
    """Return what devices of each hardware class must install: class id to image.

    Args:
        bundle: a ``bundle.json`` that was checked.
        sequence: of the manifests.
    """
    files, hardware = _maps(bundle, "files"), _maps(bundle, "hw")
    file = next(entry for entry in files if entry["role"] == "image")
    component, digest = (
        intake.read_text(bundle["component"], "component"),
        bytes.fromhex(intake.read_text(file["sha256"], "sha256")),
    )
    size, images = intake.check_integer(file["size"], "size"), {}
    for model in hardware:
        vendor = intake.read_text(model["vendor_id"], "vendor_id")
        name = intake.read_text(model["class_id"], "class_id")
        images[name] = SuitImage(sequence, UUID(vendor), UUID(name), component, digest, size)
    return images


def _maps(bundle: Mapping[str, object], name: str) -> list[dict[str, object]]:
    return [intake.map_of(item, f"{name}[{index}]") for index, item in enumerate(intake.list_of(bundle[name], name))]


def suit_manifest(image: SuitImage) -> bytes:
    """Return the manifest of an image."""
    parameters = {
        _P_VENDOR: image.vendor.bytes,
        _P_CLASS: image.hardware.bytes,
        _P_DIGEST: _dump([_SHA256, image.sha256]),
        _P_SIZE: image.size,
    }
    shared = [_OVERRIDE, parameters, _IS_VENDOR, _REPORT_ALL, _IS_CLASS, _REPORT_ALL]
    install = [_OVERRIDE, {_P_URI: URI}, _FETCH, _REPORT_FAILURE, _IS_IMAGE, _REPORT_ALL]
    common = {_COMPONENTS: [[image.component.encode()]], _SHARED: _dump(shared)}
    return _dump(
        {
            _VERSION: 1,
            _SEQUENCE: image.sequence,
            _COMMON: _dump(common),
            _VALIDATE: _dump([_IS_IMAGE, _REPORT_ALL]),
            _INSTALL: _dump(install),
        }
    )


def to_be_signed(manifest: bytes, algorithm: int = ES256) -> bytes:
    """Return what each person signs (RFC 9052, 4.4): the Sig_structure over the manifest's digest."""
    return _dump(["Signature1", _dump({1: algorithm}), b"", _digest_block(manifest)])


def suit_envelope(manifest: bytes, signatures: Sequence[bytes]) -> bytes:
    """Return the envelope.

    Args:
        manifest: as ``suit_manifest`` returned it.
        signatures: of each person over ``to_be_signed``: 64 bytes (r and s, or of EdDSA).
    """
    blocks = [
        _dump(cbor2.CBORTag(_SIGN1, [_dump({1: _algorithm(signature)}), {}, None, bytes(signature)]))
        for signature in signatures
    ]
    return _dump(cbor2.CBORTag(_ENVELOPE, {2: _dump([_digest_block(manifest), *blocks]), 3: manifest}))


def read_envelope(data: bytes) -> tuple[SuitImage, bytes, list[CoseSignature]]:
    """Return the image, the manifest and the signatures of an envelope; nothing is verified yet.

    Raises:
        InvalidError: too long, or it differs from what ``suit_envelope`` writes by a byte.
    """
    if len(data) > MAX_ENVELOPE:
        msg = f"An envelope may have at most {MAX_ENVELOPE} bytes."
        raise InvalidError(msg)
    try:
        outer = _load(data).value
        signed = outer[3]
        signatures = [_signature(_load(one).value) for one in _load(outer[2])[1:]]
        image = _image(_load(signed))
        same = len(signatures) <= MOST_SIGNATURES and suit_envelope(suit_manifest(image), signatures) == data
    except (InvalidError, ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        msg = "This is not a SUIT envelope in the supported form."
        raise InvalidError(msg) from error
    if not same:
        msg = "The SUIT envelope differs from the supported form."
        raise InvalidError(msg)
    return image, signed, signatures


def manifest_signers(manifest: bytes, signatures: Sequence[bytes], keys: Mapping[str, Key]) -> set[str]:
    """Return which of some people have signed a manifest; of several names of one key the first counts.

    Args:
        manifest: what was signed.
        signatures: 64 bytes each, with their algorithm.
        keys: name to public key (P-256 or Ed25519).
    """
    own: dict[str, str] = {}
    for name, key in keys.items():
        own.setdefault(key_identity(key), name)
    return {name for name in own.values() if any(_fits(keys[name], signature, manifest) for signature in signatures)}


def raw_signature(der: bytes) -> bytes:
    """Return an ECDSA signature in DER as r and s of 32 bytes each, as COSE has it."""
    return b"".join(number.to_bytes(_HALF, "big") for number in utils.decode_dss_signature(der))


def _fits(key: Key, signature: bytes, manifest: bytes) -> bool:
    algorithm = _algorithm(signature)
    if len(signature) != 2 * _HALF or not isinstance(key, _KEYS.get(algorithm, ())):
        return False
    payload = to_be_signed(manifest, algorithm)
    try:
        if isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(bytes(signature), payload)
        elif key.curve.name == "secp256r1":
            halves = int.from_bytes(signature[:_HALF], "big"), int.from_bytes(signature[_HALF:], "big")
            key.verify(utils.encode_dss_signature(*halves), payload, ec.ECDSA(hashes.SHA256()))
        else:
            return False
    except (InvalidSignature, ValueError):
        return False
    return True


def _algorithm(signature: bytes) -> int:
    return signature.algorithm if isinstance(signature, CoseSignature) else ES256


def _signature(block: Any) -> CoseSignature:  # untyped: as ``_load`` says
    """Return the signature of a COSE_Sign1 whose algorithm is known."""
    algorithm = _load(block[0])[1]
    if (
        type(algorithm) is not int
        or algorithm not in _KEYS
        or type(block[3]) is not bytes
        or len(block[3]) != 2 * _HALF
    ):
        raise ValueError(algorithm)
    return CoseSignature(block[3], algorithm)


def _image(value: Any) -> SuitImage:  # untyped: as ``_load`` says
    common = _load(value[_COMMON])
    parameters = _load(common[_SHARED])[1]
    for number in (value[_SEQUENCE], parameters[_P_SIZE]):
        if type(number) is not int or number < 1:
            raise ValueError(number)
    return SuitImage(
        value[_SEQUENCE],
        UUID(bytes=parameters[_P_VENDOR]),
        UUID(bytes=parameters[_P_CLASS]),
        common[_COMPONENTS][0][0].decode(),
        _load(parameters[_P_DIGEST])[1],
        parameters[_P_SIZE],
    )


def _digest_block(manifest: bytes) -> bytes:
    """Return the digest of the manifest as the envelope holds it: of its byte string."""
    return _dump([_SHA256, hashlib.sha256(_dump(manifest)).digest()])


def _load(data: bytes) -> Any:  # untyped: what has another shape raises where it is read, and ``read`` refuses it
    return cbor.loads(data, max_bytes=MAX_ENVELOPE, cose=frozenset({_ENVELOPE, _SIGN1}))


def _dump(value: object) -> bytes:
    return cbor2.dumps(value, canonical=True)
