"""Hostile messages of CoAP, as bytes: over UDP (RFC 7252) and over TCP (RFC 8323)."""

from aiocoap import Message
from aiocoap.numbers import codes, types

METHODS = {"GET": codes.GET, "POST": codes.POST, "PUT": codes.PUT}
BODY = b"\xa1\x6azz_unknown\x01"
TOKEN = b"tk"


def options_of(method, path):
    """Return code, options and payload of a good message."""
    message = Message(code=METHODS[method], payload=BODY)
    message.opt.uri_path = tuple(path.strip("/").split("/"))
    message.opt.content_format = 60
    return int(METHODS[method]), message.opt.encode(), BODY


def hostile(options, payload):
    """Return what may stand behind the header, by name: good, and broken in one place."""
    marked = options + b"\xff" + payload
    return {
        "good": marked,
        "no payload": options,
        "a marker without a payload": options + b"\xff",
        "two markers": marked + b"\xff\xff",
        "an option that ends nowhere": options + b"\xdd\xff\xff",
        "a length of 15": options + b"\x1f" + marked,
        "a delta of 15": options + b"\xf1" + marked,
        "a long option": options + b"\xce\xff\xff" + bytes(300),
        "an unknown critical option": options + b"\xe1\xff\x00\x01" + b"\xff" + payload,
        "an unknown critical option below": b"\x91x" + options,
        "many options": b"\xb1a" + b"\x01b" * 300,
        "many queries": options + b"\x31a" + b"\x01b" * 300,
        "an empty segment": b"\xb0\x00" + options,
        "dots": b"\xb2..\x02..",
        "no text in the path": b"\xb4v\xff\xed\xa0" + options,
        "a NUL in the path": b"\xb2v\x00" + options,
        "no text in the host": b"\x33\xff\xfe\xfd" + options,
        "another host": b"\x3cevil.example"[:13] + options,
        "a proxy's address": options + b"\xd9\x0acoap://xy"[:11],
        "a number of nine bytes": options + b"\x59" + b"\xff" * 9,
        "block 1 at the end of numbers": options + b"\xd3\x02\xff\xff\xf7\xff" + payload,
        "block 2 at the end of numbers": options + b"\xb3\xff\xff\xf6" + b"\xff" + payload,
        "a reserved block size": options + b"\xb1\x0f" + b"\xff" + payload,
        "a deep body": options + b"\xff" + b"\x81" * 800,
        "a body without end": options + b"\xff\x5b" + b"\xff" * 8,
    }


def over_udp(code, parts):
    """Return datagrams by name: each of the parts behind a good header, and headers that are not."""
    header = lambda first, mid=1: bytes((first, code)) + mid.to_bytes(2, "big") + TOKEN  # noqa: E731
    good = parts["good"]
    confirmable = 0x40 | types.CON << 4
    found = {
        name: header(confirmable | len(TOKEN), number + 2) + part for number, (name, part) in enumerate(parts.items())
    }
    return found | {
        "nothing": b"\x00",
        "half a header": b"\x42\x01",
        "version 0": header(0x02) + good,
        "version 3": header(0xC2) + good,
        "a token of nine": header(0x49) + good,
        "a token of fifteen": header(0x4F) + good,
        "a token that is cut off": b"\x48\x01\x00\x09abc",
        "a code of no class": b"\x42\x1f\x00\x0atk" + good,
        "an answer that nobody asked for": b"\x62\x45\x00\x0btk" + good,
        "a reset": b"\x70\x00\x00\x0c",
        "an empty message with a body": b"\x40\x00\x00\x0d" + good,
        "non-confirmable": header(0x52, 900) + good,
        "a repeated message": header(confirmable | len(TOKEN), 2) + good,
        "a long datagram": header(confirmable | len(TOKEN), 901) + good + b"x" * 1000,
    }


def framed(code, data, token=TOKEN, size=None):
    """Return a message over TCP: its length first, as RFC 8323, 3.2, has it."""
    size = len(data) if size is None else size
    for nibble, offset, width in ((13, 13, 1), (14, 269, 2), (15, 65805, 4)):
        if size < 13:
            return bytes((size << 4 | len(token), code)) + token + data
        if size < offset + (1 << 8 * width):
            return (
                bytes((nibble << 4 | len(token),))
                + (size - offset).to_bytes(width, "big")
                + bytes((code,))
                + token
                + data
            )
    raise AssertionError(size)


def over_tcp(code, parts):
    """Return what one connection sends, by name: the settings first, or not."""
    settings = framed(0xE1, b"", b"")
    found = {name: settings + framed(code, part) for name, part in parts.items()}
    good = parts["good"]
    return found | {
        "no settings": framed(code, good),
        "settings with an unknown critical option": framed(0xE1, b"\x91x", b"") + framed(code, good),
        "a ping with a body": settings + framed(0xE2, b"\xff" + b"x" * 50, b""),
        "a release": settings + framed(0xE4, b"", b""),
        "an abort": settings + framed(0xE5, b"\xffwhy", b""),
        "a signal that nobody knows": settings + framed(0xEF, good, b""),
        "a token of nine": settings + bytes((len(good) % 13 << 4 | 9, code)) + good,
        "a message beyond all bounds": settings + framed(code, b"", size=1 << 31),
        "half a message": settings + framed(code, good)[:-3],
        "a code of no class": settings + framed(0x1F, good),
        "an answer that nobody asked for": settings + framed(0x45, good),
        "many messages": settings + framed(code, good) * 50,
        "no CoAP at all": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    }
