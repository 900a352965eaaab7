"""Public areas, names and attestations (TPM 2.0 Library, Part 2). Big-endian; nothing may be left over."""

import hashlib
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from pki.kernel.errors import InvalidError

MAX_BLOB = 4096
RSA, ECC, NULL = 0x0001, 0x0023, 0x0010
SHA256, SHA384 = 0x000B, 0x000C
HASHES = {SHA256: "sha256", SHA384: "sha384"}
MAGIC = 0xFF544347
CERTIFY, QUOTE = 0x8017, 0x8018
RSASSA, ECDSA = 0x0014, 0x0018
_CURVES: dict[int, tuple[ec.EllipticCurve, int]] = {3: (ec.SECP256R1(), 32), 4: (ec.SECP384R1(), 48)}
#: bits of TPMA_OBJECT
FIXED_TPM, FIXED_PARENT, ORIGIN, RESTRICTED, DECRYPT, SIGN = 1, 4, 5, 16, 17, 18


class Reader:
    """Reads numbers and sized buffers; refuses to read beyond the end."""

    def __init__(self, data: bytes) -> None:
        if len(data) > MAX_BLOB:
            msg = f"A TPM structure may have at most {MAX_BLOB} bytes."
            raise InvalidError(msg)
        self._data, self._at = data, 0

    def take(self, length: int) -> bytes:
        """Return the next bytes."""
        if self._at + length > len(self._data):
            msg = "A TPM structure is truncated."
            raise InvalidError(msg)
        self._at += length
        return self._data[self._at - length : self._at]

    def number(self, length: int) -> int:
        """Return the next unsigned integer."""
        return int.from_bytes(self.take(length), "big")

    def sized(self) -> bytes:
        """Return the content of the next TPM2B."""
        return self.take(self.number(2))

    def end(self) -> None:
        """Refuse bytes that are left."""
        if self._at != len(self._data):
            msg = "A TPM structure has extra bytes at its end."
            raise InvalidError(msg)


@dataclass(frozen=True, slots=True)
class Public:
    """A key's public area.

    Args:
        area: TPMT_PUBLIC as it came.
        hash_name: of the name algorithm.
        attributes: TPMA_OBJECT.
        key: the public key.
        symmetric_bits: of a storage key's symmetric algorithm; 0 for none.
    """

    area: bytes
    hash_name: str
    attributes: int
    key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey
    symmetric_bits: int

    @property
    def name(self) -> bytes:
        """Return the object's name: algorithm and hash of the public area."""
        return self.area[2:4] + hashlib.new(self.hash_name, self.area).digest()

    def has(self, *bits: int) -> bool:
        """Return whether all these attributes are set."""
        return all(self.attributes >> bit & 1 for bit in bits)


@dataclass(frozen=True, slots=True)
class Attest:
    """What a TPM attests: kind, the nonce that was asked for, and what is attested.

    Args:
        kind: ``CERTIFY`` or ``QUOTE``.
        nonce: extraData.
        name: of the certified key; empty for a quote.
        selections: of a quote: (hash, numbers of the PCRs).
        digest: of the quoted PCR values.
    """

    kind: int
    nonce: bytes
    name: bytes = b""
    selections: tuple[tuple[int, tuple[int, ...]], ...] = ()
    digest: bytes = b""


def parse_public(tpm2b: bytes) -> Public:
    """Read a TPM2B_PUBLIC.

    Raises:
        InvalidError: cut off, with something left over, or of a kind that is not taken.
    """
    outer = Reader(tpm2b)
    area = outer.sized()
    outer.end()
    reader = Reader(area)
    kind, name_algorithm, attributes = reader.number(2), reader.number(2), reader.number(4)
    if name_algorithm not in HASHES:
        msg = "A TPM key must be named by SHA-256 or SHA-384."
        raise InvalidError(msg)
    reader.sized()
    bits = _symmetric(reader)
    key = _rsa(reader) if kind == RSA else _ecc(reader) if kind == ECC else None
    reader.end()
    if key is None:
        msg = "A TPM key must be RSA or elliptic curve."
        raise InvalidError(msg)
    return Public(area, HASHES[name_algorithm], attributes, key, bits)


def parse_attest(data: bytes) -> Attest:
    """Read a TPMS_ATTEST of a certification or a quote.

    Raises:
        InvalidError: not made by a TPM, cut off, or of another kind.
    """
    reader = Reader(data)
    magic, kind = reader.number(4), reader.number(2)
    if magic != MAGIC or kind not in {CERTIFY, QUOTE}:
        msg = "This is not a certification or quote of a TPM."
        raise InvalidError(msg)
    reader.sized()
    nonce = reader.sized()
    reader.take(8 + 4 + 4 + 1 + 8)
    if kind == CERTIFY:
        attested = Attest(kind, nonce, name=reader.sized())
        reader.sized()
    else:
        attested = Attest(kind, nonce, selections=_selections(reader), digest=reader.sized())
    reader.end()
    return attested


def _symmetric(reader: Reader) -> int:
    if reader.number(2) == NULL:
        return 0
    bits = reader.number(2)
    reader.number(2)
    return bits


def _scheme(reader: Reader) -> None:
    if reader.number(2) != NULL:
        reader.number(2)


def _rsa(reader: Reader) -> rsa.RSAPublicKey:
    _scheme(reader)
    bits, exponent = reader.number(2), reader.number(4) or 65537
    modulus = int.from_bytes(reader.sized(), "big")
    if bits not in {2048, 3072, 4096} or modulus.bit_length() != bits:
        msg = "A TPM's RSA key must have 2048, 3072 or 4096 bits."
        raise InvalidError(msg)
    try:
        return rsa.RSAPublicNumbers(exponent, modulus).public_key()
    except ValueError as error:
        msg = "The TPM's RSA key is not valid."
        raise InvalidError(msg) from error


def _ecc(reader: Reader) -> ec.EllipticCurvePublicKey:
    _scheme(reader)
    curve = reader.number(2)
    _scheme(reader)  # the key derivation, of the same form
    x, y = (int.from_bytes(reader.sized(), "big") for _ in range(2))
    if curve not in _CURVES:
        msg = "A TPM's elliptic curve key must be on P-256 or P-384."
        raise InvalidError(msg)
    try:
        return ec.EllipticCurvePublicNumbers(x, y, _CURVES[curve][0]).public_key()
    except ValueError as error:
        msg = "The TPM's key is not a point on its curve."
        raise InvalidError(msg) from error


def _selections(reader: Reader) -> tuple[tuple[int, tuple[int, ...]], ...]:
    selections = []
    for _ in range(min(reader.number(4), 16)):
        algorithm, bitmap = reader.number(2), reader.take(reader.number(1))
        chosen = tuple(8 * index + bit for index, byte in enumerate(bitmap) for bit in range(8) if byte >> bit & 1)
        selections.append((algorithm, chosen))
    return tuple(selections)
