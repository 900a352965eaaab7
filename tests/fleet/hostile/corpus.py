"""At least 300 hostile values, by the place that they are put in."""

import json

import cbor2

TEXTS = [
    *(f"a{chr(code)}b" for code in [0, 1, 7, 8, 9, 10, 11, 12, 13, 27, 31, 127, 128, 133, 159]),
    *(f"x{char}y" for char in "\u200b\u200e\u200f\u202a\u202b\u202d\u202e\u2028\u2029\u2066\u2069\ufeff\ufffe\uffff"),
    "\ud800", "\udfff", "\udbff\udbff", "\ud83d x", "a\udc80", "\U000e0001", "\U0010ffff", "\ue000", "\u0378",
    "e\u0301" * 40, "Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢L̠ͨͧͩ͘G̴̻͈͍͔̹̑͗̎̅͛́Ǫ̵̹̻̝̳͂̌̌͘", "🏳️‍🌈", "ﷺ" * 30, "ß" * 70, "İstanbul", "ﬁ", "٣",
    "", " ", "\t", "  padded  ", ".", "..", "../../etc/passwd", "..\\..\\x", "/", "//", "\\", "con", "a" * 65, "a" * 101,
    "a" * 1001, "a" * 5000, "é" * 5000, "null", "None", "true", "NaN", "Infinity", "-0", "0x10", "1e400", "1_000", "0" * 50,
    "9" * 5000, "'; DROP TABLE x;--", '"', "`id`", "$(id)", "${jndi:ldap://x}", "{{7*7}}", "{% debug %}", "%s%n", "%00", "%",
    "%zz", "%c0%af", "<script>alert(1)</script>", "<!--", "]]>", "a=b&c=d", "a;b", "a,b", "*", "?", "[", "(", "a" * 40 + "(a+)+$",
    "-----BEGIN CERTIFICATE-----", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "\x1b[31mred\x1b[0m",
    "name = x and", "not " * 30, "(" * 40, 'tag in ("a', "runs.a__b = 1", "enrolled > 9999-99-99", 'group = "\\"',
]  # fmt: skip

NUMBERS = [
    0, -1, 1, 2**31 - 1, 2**31, -(2**31) - 1, 2**32, 2**53, 2**53 + 1, 2**62, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1,
    2**64 - 1, 2**64, 2**65, 10**30, 10**300, -(10**300), 0.5, -0.0, 1e-320, 1.7e308, float("inf"), float("-inf"),
    float("nan"),
]  # fmt: skip


def nested(opening, closing, depth):
    """Return a value nested as deeply as text."""
    return opening * depth + closing * depth


STRUCTURES = [
    None, True, False, [], {}, [[]], {"": ""}, {"a": None}, [None], [1, "a", {}], {"a": {"b": {"c": {"d": {"e": {"f": 1}}}}}},
    ["a"] * 2000, {str(number): number for number in range(2000)}, {"\0": 1}, {"\ud800": "\udfff"}, {"__proto__": {}},
    {"$ref": "#"}, [2**63], {"a": [{"b": float("nan")}]}, {"constructor": 1}, {"a" * 3000: 1}, [["x"] * 50] * 50,
]  # fmt: skip

RAW_JSON = [
    b"", b" ", b"{", b"}", b"[", b'{"a"', b'{"a":}', b"{'a':1}", b"{a:1}", b'{"a":1,}', b'{"a":1}x', b'{"a":1}{"a":1}', b"nul",
    b"// x\n{}", b"{}\0", b"\0{}", b"\xef\xbb\xbf{}", b"\xff\xfe{\x00}\x00", b"\x00{\x00}", b"+ADw-", b'"\xed\xa0\x80"', b"\xff",
    b'{"a":"\xc0\x80"}', b'{"a":"\n"}', b'{"a":"\\x"}', b'{"a":"\\u12"}', b'{"a":1,"a":2}', b'{"a":1,"\\u0061":2}', b"[1,2", b"01",
    b"1.", b".5", b"+1", b"--1", b"0x1", b"1" * 5000, b"-" + b"9" * 4500, b"1e99999", b"NaN", b"-Infinity", b'""', b"3", b"true",
    nested(b"[", b"]", 5000), nested(b'{"a":', b"}", 5000), b"[" * 60_000, b'{"a":' * 900 + b"1" + b"}" * 900, b'"' + b"a" * 60_000,
    b"{" + b",".join(b'"%d":1' % number for number in range(4000)) + b"}", b"<xml/>", b"a=1&b=2", b"--x\r\n\r\n--x--",
    b"\x1f\x8b\x08\x00\x00\x00\x00\x00", b"PK\x03\x04", b"%PDF-1.7", bytes(range(256)), b"\xf0\x9f\x98" * 100,
]  # fmt: skip

RAW_CBOR = [
    b"\xa1", b"\xbf", b"\x9f", b"\x5f", b"\x7f", b"\xff", b"\xa1\x61a", b"\xa2\x61a\x01\x61a\x02", b"\xa1\x01\x02", b"\xa1\x80\x02",
    b"\xbf\x61a\x01\xff", b"\xbf\x61a\xff", b"\x7f\x41a\xff", b"\x7f\x61\xff\xff", b"\xc0\x61x", b"\xc2\x49\x01" + bytes(8),
    b"\xc3\x49\xff" + bytes(8), b"\xd8\x1c\xa0", b"\xd8\x1d\x00", b"\xd8\x23\x61(", b"\xd9\xd9\xf7\xa0", b"\xdb" + b"\xff" * 8 + b"\xa0",
    b"\x1b" + b"\xff" * 8, b"\x3b" + b"\xff" * 8, b"\xa1\x61a\x1b\x80" + bytes(7), b"\xf9\x7e\x00", b"\xf9\x7c\x00", b"\xfb\x7f\xf0" + bytes(6),
    b"\xf7", b"\xf8\xff", b"\xe0", b"\xfc", b"\x1c", b"\x9b" + b"\xff" * 8, b"\xbb" + b"\xff" * 8, b"\x5b" + b"\xff" * 8, b"\x7b" + b"\xff" * 8,
    b"\x81" * 5000, b"\x9f" * 5000, b"\xa1\x61a" * 3000, b"\xa0\xa0", b"\xa1\x61\xff\x01", b"\xa1\x63\xed\xa0\x80\x01", b"\xa1\x61\x00\x01",
    b"\xa1\x61a\x63\xed\xa0\x80", b"\xa1\x65nonce\x58\x20" + bytes(32), b"\xa1\x65nonce\x40", cbor2.dumps({"nonce": b"x" * 60_000}),
]  # fmt: skip

HEADERS = [
    ("if-match", '"d99999999999999999999999"'), ("if-match", "*"), ("if-match", '"'), ("if-match", '"d-1"'), ("if-match", '"d٣"'),
    ("if-match", '"r²"'), ("if-match", '"d' + "9" * 500 + '"'), ("if-match", "," * 300), ("if-none-match", 'W/"d1", "r1",,'),
    ("if-none-match", '"' * 99), ("accept", "*/*;q=NaN"), ("accept", "application/xml"), ("accept", ";" * 50), ("accept", "a" * 3000),
    ("accept", "application/json;version=\xff"), ("content-type", ""), ("content-type", "application/JSON"), ("content-type", "text/plain"),
    ("content-type", "application/json; charset=utf-7"), ("content-type", "application/json; charset=\xff"),
    ("content-type", "application/json;;;"), ("content-type", "multipart/form-data"), ("content-type", "multipart/form-data; boundary="),
    ("content-type", "multipart/form-data; boundary=" + "x" * 300), ("content-type", "multipart/mixed; boundary=x"),
    ("content-type", "application/x-www-form-urlencoded; charset=utf-7"), ("content-type", "application/merge-patch+json"),
    ("content-type", "application/cbor, application/json"), ("content-type", "application/cbor"), ("content-type", "json"),
    ("authorization", ""), ("authorization", "Bearer"), ("authorization", "Bearer "), ("authorization", "Bearer mst_\xff"),
    ("authorization", "Basic !!!"), ("authorization", "Basic /////w=="), ("authorization", "Basic YTo="), ("authorization", "Basic YToA"),
    ("authorization", "Basic YTrtoIA="), ("authorization", "Digest x"), ("authorization", "Bearer " + "a" * 4000),
    ("range", "bytes=-"), ("range", "bytes=99999999999999999999-"), ("range", "bytes=0-0," * 100), ("range", "bytes=2-1"),
    ("range", "lines=1-2"), ("range", "bytes=٣-"), ("if-range", '"x'), ("user-agent", "\x7f" * 100), ("user-agent", "a" * 4000),
    ("host", "localhost:99999"), ("host", "localhost:٣"), ("host", "evil.example"), ("host", "[::1"), ("x-forwarded-for", "'"),
    ("cookie", "__Host-muster-session=\xff\xfe"), ("cookie", "__Host-muster-session=" + "a" * 4000), ("cookie", ";=;=;"),
    ("referer", "javascript:0"), ("origin", "null"), ("hx-request", "\xff"), ("accept-language", "x" * 2000), ("client-cert", ":AAAA:"),
    ("x-ssl-client-cert", "x"), ("forwarded", 'for="_"'), ("expect", "200-maybe"), ("accept-encoding", "gzip;q=-1"),
]  # fmt: skip

#: of a path or a query, as they stand on the wire
PERCENT = [
    "%00", "a%00b", "%0a", "%0d%0aX:%20y", "%7f", "%80", "%ff", "%c0%80", "%c0%af", "%ed%a0%80", "%ed%bf%bf", "%f4%90%80%80", "%e2%80%ae",
    "%ef%bb%bf", "%ef%bf%be", "%F0%9F%98%80", "%u0041", "%", "%2", "%zz", "%25%30%30", "%2e%2e%2f", "%2f", "%5c", "+", "%20", "%2b",
    "a" * 300, "9" * 400, "-1", "0", "1e3", "9223372036854775808", "%D9%A3", "%C2%B2", "%27%22", "%3Cscript%3E", "[]", "a%5B%5D", "%26", "%23",
]  # fmt: skip


def count():
    """Return how many values there are."""
    lists = (TEXTS, NUMBERS, STRUCTURES, RAW_JSON, RAW_CBOR, HEADERS, PERCENT)
    return sum(map(len, lists))


def values():
    """Return what may stand in one field of a body."""
    return [*TEXTS, *NUMBERS, *STRUCTURES]


def as_json(body):
    """Return a body as JSON, surrogates, NaN and all."""
    return json.dumps(body).encode()


def as_cbor(body):
    """Return a body as CBOR, or None where CBOR cannot say it."""
    try:
        return cbor2.dumps(body)
    except (UnicodeEncodeError, cbor2.CBORError, OverflowError):
        return None
