"""CsrAttrs (RFC 7030, 4.5.2, as corrected by RFC 8951): which key a request should hold. Pure."""

from pki import der

_OID = 0x06
_SET = 0x31
_EC_KEY = bytes.fromhex("2a8648ce3d0201")
_RSA = bytes.fromhex("2a864886f70d010101")
_ED25519 = bytes.fromhex("2b6570")
_ECDSA_SHA256, _ECDSA_SHA384 = bytes.fromhex("2a8648ce3d040302"), bytes.fromhex("2a8648ce3d040303")
_SHA256_RSA = bytes.fromhex("2a864886f70d01010b")
_P256, _P384 = bytes.fromhex("2a8648ce3d030107"), bytes.fromhex("2b81040022")
#: in the order in which they are wished for
_WISHES: dict[str, tuple[bytes, bytes | None, bytes]] = {
    "p256": (_EC_KEY, _P256, _ECDSA_SHA256),
    "p384": (_EC_KEY, _P384, _ECDSA_SHA384),
    "ed25519": (_ED25519, None, _ED25519),
    "rsa": (_RSA, None, _SHA256_RSA),
}


def csr_attributes(key_types: frozenset[str]) -> bytes:
    """Return CsrAttrs in DER for the most preferred of some key types."""
    key, parameter, signature = next(wish for name, wish in _WISHES.items() if name in key_types)
    if parameter is None:
        return der.tlv(der.SEQUENCE, der.tlv(_OID, key) + (der.tlv(_OID, signature) if signature != key else b""))
    values = der.tlv(_SET, der.tlv(_OID, parameter))
    attribute = der.tlv(der.SEQUENCE, der.tlv(_OID, key) + values)
    return der.tlv(der.SEQUENCE, attribute + der.tlv(_OID, signature))
