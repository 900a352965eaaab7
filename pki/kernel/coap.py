"""Constants for both ends of CoAP: content formats, and entity tags of HTTP as options. Plain Python."""

import re

#: content format -> media type (IANA's registry; EST's from RFC 9148)
FORMATS = {
    0: "text/plain; charset=utf-8",
    40: "application/link-format",
    42: "application/octet-stream",
    50: "application/json",
    60: "application/cbor",
    62: "application/multipart-core",
    281: "application/pkcs7-mime; smime-type=certs-only",
    285: "application/csrattrs",
    286: "application/pkcs10",
    287: "application/pkix-cert",
}
NUMBERS = {media: number for number, media in FORMATS.items()}
#: an entity tag has eight bytes at most (RFC 7252, 5.10.6)
TAG = 8
_TAG = re.compile(r'"[dr][0-9]{1,16}"')


def is_tag(text: str) -> bool:
    """Return whether an entity tag is one of a twin's sections: a letter and a version."""
    return _TAG.fullmatch(text) is not None


def tag_bytes(tag: str) -> bytes:
    """Return the entity tag of a twin's section as CoAP carries it: its letter, then the version without zeros."""
    return tag[1].encode() + int(tag[2:-1]).to_bytes(TAG - 1, "big").lstrip(b"\0")


def tag_text(value: bytes) -> str:
    """Return an entity tag of CoAP as HTTP writes it."""
    return f'"{value[:1].decode("latin-1")}{int.from_bytes(value[1:TAG], "big")}"'
