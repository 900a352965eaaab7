"""The DER subset (X.690) that CRL splicing needs: read the parts of a SEQUENCE, write one again. Pure."""

from pki.kernel.errors import InvalidError

SEQUENCE = 0x30
BIT_STRING = 0x03
_CUT = "The DER is truncated or malformed."


def tlv(tag: int, content: bytes) -> bytes:
    """Return one element."""
    length = len(content)
    if length < 0x80:  # noqa: PLR2004  because the short form ends here
        return bytes((tag, length)) + content
    size = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(size))) + size + content


def read_element(data: bytes, offset: int = 0) -> tuple[int, int, int]:
    """Return (tag, offset of the content, offset after the element) of the element at an offset.

    Raises:
        InvalidError: it is cut off, or its length is not in DER.
    """
    if offset + 2 > len(data):
        raise InvalidError(_CUT)
    tag, length, start = data[offset], data[offset + 1], offset + 2
    if length & 0x80:
        size = data[start : start + (length & 0x7F)]
        start, length = start + len(size), int.from_bytes(size, "big")
        # The long form is for what the short one cannot say, in as few bytes as it takes, and never beyond 4 GiB.
        if not 0 < len(size) <= 4 or length < 0x80 or not size[0]:  # noqa: PLR2004  because four bytes say 4 GiB
            raise InvalidError(_CUT)
    if start + length > len(data):
        raise InvalidError(_CUT)
    return tag, start, start + length


def sequence_parts(data: bytes) -> list[bytes]:
    """Return the elements inside a SEQUENCE, each with its header.

    Raises:
        InvalidError: it is no SEQUENCE, or something is left over.
    """
    return inner_elements(data, SEQUENCE)


def inner_elements(data: bytes, wanted: int) -> list[bytes]:
    """Return the elements inside one constructed element, each with its header.

    Args:
        data: the element.
        wanted: its tag.

    Raises:
        InvalidError: it has another tag, or something is left over.
    """
    tag, offset, end = read_element(data)
    if tag != wanted or end != len(data):
        msg = f"This is not one DER element with the tag {wanted:#04x}."
        raise InvalidError(msg)
    elements = []
    while offset < end:
        _, _, after = read_element(data, offset)
        if after > end:
            msg = "The DER is malformed."
            raise InvalidError(msg)
        elements.append(data[offset:after])
        offset = after
    return elements


def signed_der(tbs: bytes, algorithm: bytes, signature: bytes) -> bytes:
    """Return SIGNED{...}: what a certificate, a request, a CRL and an OCSP answer all are (RFC 5280, 4.1)."""
    return tlv(SEQUENCE, tbs + algorithm + tlv(BIT_STRING, b"\x00" + signature))
