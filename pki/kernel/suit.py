"""SUIT manifests for microcontrollers (draft-ietf-suit-manifest-34, RFC 9124): one component, signed by several people.

An envelope is CBOR tag 107 over an authentication wrapper and a manifest. The wrapper holds the manifest's digest and a
COSE_Sign1 (RFC 9052, ES256, detached) of each person over it. A device demands as many different people as its
factory told it. Only one shape is written and read: whatever differs from it by a byte is refused, so that nothing has
to be interpreted on a device with little memory.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import cbor2
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

from pki.kernel.errors import InvalidError

MAX_ENVELOPE = 4096
MOST_SIGNATURES = 8
URI = "/v1/blob/image"
_ENVELOPE, _SIGN1, _SHA256, _ES256 = 107, 18, -16, -7
_PROTECTED = cbor2.dumps({1: _ES256})
_HALF = 32
#: keys of the manifest, directives, conditions and parameters (draft-34, section 16)
_VERSION, _SEQUENCE, _COMMON, _VALIDATE, _INSTALL = 1, 2, 3, 7, 20
_COMPONENTS, _SHARED = 2, 4
_OVERRIDE, _FETCH, _IS_VENDOR, _IS_CLASS, _IS_IMAGE = 20, 21, 1, 2, 3
_P_VENDOR, _P_CLASS, _P_DIGEST, _P_SIZE, _P_URI = 1, 2, 3, 14, 21
_REPORT_ALL, _REPORT_FAILURE = 15, 2


@dataclass(frozen=True, slots=True)
class Image:
    """What a device shall install.

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


def images(bundle: Mapping[str, Any], sequence: int) -> dict[str, Image]:
    """Return what devices of each hardware class shall install: class id to image.

    Args:
        bundle: a ``bundle.json`` that was checked.
        sequence: of the manifests.
    """
    file = next(one for one in bundle["files"] if one["role"] == "image")
    return {
        one["class_id"]: Image(
            sequence,
            UUID(one["vendor_id"]),
            UUID(one["class_id"]),
            bundle["component"],
            bytes.fromhex(file["sha256"]),
            file["size"],
        )
        for one in bundle["hw"]
    }


def manifest(image: Image) -> bytes:
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


def to_be_signed(manifest: bytes) -> bytes:
    """Return what each person signs (RFC 9052, 4.4): the Sig_structure over the manifest's digest."""
    return _dump(["Signature1", _PROTECTED, b"", _digest_block(manifest)])


def envelope(manifest: bytes, signatures: Sequence[bytes]) -> bytes:
    """Return the envelope.

    Args:
        manifest: as ``manifest`` returned it.
        signatures: of each person over ``to_be_signed``, r and s of 32 bytes each.
    """
    blocks = [_dump(cbor2.CBORTag(_SIGN1, [_PROTECTED, {}, None, one])) for one in signatures]
    return _dump(cbor2.CBORTag(_ENVELOPE, {2: _dump([_digest_block(manifest), *blocks]), 3: manifest}))


def read(data: bytes) -> tuple[Image, bytes, list[bytes]]:
    """Return the image, the manifest and the signatures of an envelope; nothing is verified yet.

    Raises:
        InvalidError: too long, or it differs from what ``envelope`` writes by a byte.
    """
    if len(data) > MAX_ENVELOPE:
        msg = f"An envelope has at most {MAX_ENVELOPE} bytes."
        raise InvalidError(msg)
    try:
        outer: Any = cbor2.loads(data).value
        signed = outer[3]
        signatures = [cbor2.loads(one).value[3] for one in cbor2.loads(outer[2])[1:]]
        image = _image(cbor2.loads(signed))
        whole = all(type(one) is bytes and len(one) == 2 * _HALF for one in signatures)
        same = whole and len(signatures) <= MOST_SIGNATURES and envelope(manifest(image), signatures) == data
    except (cbor2.CBORError, ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        msg = "This is no SUIT envelope of the one shape that is known here."
        raise InvalidError(msg) from error
    if not same:
        msg = "The SUIT envelope differs from the one shape that is known here."
        raise InvalidError(msg)
    return image, signed, signatures


def signers(manifest: bytes, signatures: Sequence[bytes], keys: Mapping[str, ec.EllipticCurvePublicKey]) -> set[str]:
    """Return which of some people have signed a manifest.

    Args:
        manifest: what was signed.
        signatures: r and s of 32 bytes each.
        keys: name to public key (P-256).
    """
    payload = to_be_signed(manifest)
    return {name for name, key in keys.items() if any(_fits(key, one, payload) for one in signatures)}


def raw(der: bytes) -> bytes:
    """Return an ECDSA signature in DER as r and s of 32 bytes each, as COSE has it."""
    return b"".join(one.to_bytes(_HALF, "big") for one in utils.decode_dss_signature(der))


def _fits(key: ec.EllipticCurvePublicKey, signature: bytes, payload: bytes) -> bool:
    halves = int.from_bytes(signature[:_HALF], "big"), int.from_bytes(signature[_HALF:], "big")
    try:
        key.verify(utils.encode_dss_signature(*halves), payload, ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, ValueError):
        return False
    return len(signature) == 2 * _HALF


def _image(value: Any) -> Image:
    common = cbor2.loads(value[_COMMON])
    parameters = cbor2.loads(common[_SHARED])[1]
    for number in (value[_SEQUENCE], parameters[_P_SIZE]):
        if type(number) is not int or number < 1:
            raise ValueError(number)
    return Image(
        value[_SEQUENCE],
        UUID(bytes=parameters[_P_VENDOR]),
        UUID(bytes=parameters[_P_CLASS]),
        common[_COMPONENTS][0][0].decode(),
        cbor2.loads(parameters[_P_DIGEST])[1],
        parameters[_P_SIZE],
    )


def _digest_block(manifest: bytes) -> bytes:
    """Return the digest of the manifest as the envelope holds it: of its byte string."""
    return _dump([_SHA256, hashlib.sha256(_dump(manifest)).digest()])


def _dump(value: Any) -> bytes:
    return cbor2.dumps(value, canonical=True)
