"""Hostile bytes on the wire: heads, bodies and messages that no client library sends, for any path of any listener."""

import json
import re
import socket
import ssl
from contextlib import suppress
from pathlib import Path

from OpenSSL import SSL

from fleet.wire import limits
from tests.fleet.hostile import corpus

BODY = b'{"zz_unknown": 1}'
CHUNKED = b"Transfer-Encoding: chunked"
LONG = b"x" * (limits.MOST_HEAD + 1)
CLOSE = b"Connection: close"
#: seconds for the answer to a whole request, and for that to half of one
PATIENCE, GLANCE = 10, 0.05
STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3}) ")


def _head(method, target, *fields, version=b"HTTP/1.1"):
    return b"\r\n".join([b" ".join([method, target, version]), *fields]) + b"\r\n\r\n"


def whole(method, target, host, *fields):
    """Return requests by name that get an answer, or a closed connection."""
    named = b"Host: " + host
    good = (named, CLOSE, b"Content-Type: application/json", *fields)
    chunks = (*good, CHUNKED)
    length = b"Content-Length: %d" % len(BODY)
    size = b"%x\r\n" % len(BODY)

    def chunked(body):
        return _head(method, target, *chunks) + body

    return {
        "HTTP/0.9": b"GET " + target + b"\r\n",
        "HTTP/1.0": _head(method, target, *fields, length, version=b"HTTP/1.0") + BODY,
        "HTTP/2.0": _head(method, target, *good, version=b"HTTP/2.0"),
        "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "no Host": _head(method, target, *good[1:]),
        "two Hosts": _head(method, target, *good, named),
        "an empty Host": _head(method, target, b"Host:", *good[1:]),
        "absolute form": _head(method, b"https://" + host + target, *good),
        "absolute form of another host": _head(method, b"http://evil.example" + target, *good),
        "chunks": chunked(size + BODY + b"\r\n0\r\n\r\n"),
        "chunks of one byte": chunked(b"".join(b"1\r\n%c\r\n" % one for one in BODY) + b"0\r\n\r\n"),
        "trailers": chunked(size + BODY + b"\r\n0\r\nX: y\r\nHost: other\r\n\r\n"),
        "extensions": chunked(b"%x;a=b;c\r\n" % len(BODY) + BODY + b"\r\n0;last\r\n\r\n"),
        "a chunk that is too long": chunked(b"1\r\n" + BODY + b"\r\n0\r\n\r\n"),
        "a chunk size that is none": chunked(b"zz\r\n" + BODY),
        "a negative chunk size": chunked(b"-1\r\n" + BODY),
        "chunks and a length": _head(method, target, *chunks, length) + size + BODY + b"\r\n0\r\n\r\n",
        "two lengths": _head(method, target, *good, length, b"Content-Length: 1") + BODY,
        "a negative length": _head(method, target, *good, b"Content-Length: -1") + BODY,
        "a length beyond 64 bits": _head(method, target, *good, b"Content-Length: 99999999999999999999"),
        "a fold": _head(method, target, *good, b"X: a", b" b"),
        "bare line feeds": _head(method, target, *good).replace(b"\r\n", b"\n"),
        "bare carriage returns": _head(method, target, *good).replace(b"\r\n", b"\r"),
        "a NUL in a field": _head(method, target, *good, b"X: a\0b"),
        "bytes in a field": _head(method, target, *good, b"User-Agent: " + bytes(range(128, 256))),
        "an endless head": _head(method, target, *good, b"X: " + LONG * 3),
        "many fields": _head(method, target, *good, *[b"A: b"] * 500),
        "a long target": _head(method, target + b"/" + LONG, *good),
        "a long query": _head(method, target + b"?a=" + b"x" * 6000, *good),
        "many query fields": _head(method, target + b"?" + b"&".join([b"a=1"] * 400), *good),
        "pipelined": _head(b"GET", target, named, *fields) * 5 + _head(b"GET", target, *good),
        "pipelined, then garbage": _head(b"GET", target, named, *fields) + b"\0\xff\r\n\r\n",
        "an odd method": _head(b"F\xf6\xf6", target, *good),
        "an odd expectation": _head(method, target, *good, b"Expect: \xff"),
        **{
            f"{odd} in the {place}": _head(b"GET", target + mark + odd.encode(), *good)
            for odd in corpus.PERCENT
            for place, mark in (("path", b"/"), ("query", b"?q="))
        },
    }


def halves(method, target, host, *fields):
    """Return requests by name that never end; who sends one hangs up."""
    head = _head(method, target, b"Host: " + host, *fields)
    chunks = _head(method, target, b"Host: " + host, *fields, CHUNKED)
    return {
        "half a line": head[:7],
        "half a head": head[:-3],
        "half a field": head[:-2] + b"X: " + b"x" * 5000,
        "half a body": _head(method, target, b"Host: " + host, *fields, b"Content-Length: 9999") + b"{",
        "half a chunk": chunks + b"ff\r\n{",
        "half a chunk size": chunks + b"ff",
        "no last chunk": chunks + b"1\r\n{\r\n",
        "half a trailer": chunks + b"0\r\nX: ",
    }


def is_last(came):
    """Say whether the last answer of a connection is there; after a refusal the listener lingers."""
    while came:
        head, end, rest = came.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\ncontent-length: ([0-9]+)", head)
        if not end or (length and len(rest) < int(length[1])):
            return False
        if re.search(rb"(?i)\r\nconnection: close", head):
            return length is not None
        came = rest[int(length[1]) :] if length else rest
    return False


def answer(connect, data, seconds):
    """Send bytes on a connection of their own; return all that comes, until the other side closes."""
    came = b""
    with suppress(ConnectionError, ssl.SSLError), connect() as line:
        line.settimeout(seconds)
        with suppress(ConnectionError, ssl.SSLError):  # it may close before all is sent
            line.sendall(data)
        while not is_last(came) and (piece := line.recv(65536)):
            came += piece
    return came


def trouble(connect, name, data):
    """Send a whole request; say what is wrong with its answer, or nothing."""
    try:
        came = answer(connect, data, PATIENCE)
    except TimeoutError:
        return f"{name}: no answer within {PATIENCE} s"
    if b"Traceback" in came or any(one == b"500" for one in STATUS.findall(came)):
        return f"{name}: {came[:200]!r}"
    return ""


def hang_up(connect, data):
    """Send half a request, wait a moment, and leave."""
    with suppress(TimeoutError):
        answer(connect, data, GLANCE)


def over_tls(port, anchor, identity=None, alpn=()):
    """Return a function that connects over TLS."""
    context = ssl.create_default_context(cafile=anchor)
    if identity:
        context.load_cert_chain(*identity)
    if alpn:
        context.set_alpn_protocols(list(alpn))
    address = ("localhost", port)
    return lambda: context.wrap_socket(socket.create_connection(address, PATIENCE), server_hostname="localhost")


def over_tcp(port):
    """Return a function that connects in the clear."""
    return lambda: socket.create_connection(("localhost", port), PATIENCE)


class Association:
    """A DTLS association with a device's certificate; what is sent is one raw datagram of CoAP."""

    def __init__(self, port, identity):
        context = SSL.Context(SSL.DTLS_CLIENT_METHOD)
        context.use_certificate_chain_file(str(identity[0]))
        context.use_privatekey_file(str(identity[1]))
        self.socket = socket.socket(type=socket.SOCK_DGRAM)
        self.socket.settimeout(2)
        self.socket.connect(("127.0.0.1", port))
        self.line = SSL.Connection(context, None)
        self.line.set_ciphertext_mtu(1200)
        self.line.set_connect_state()
        while True:
            try:
                self.line.do_handshake()
                break
            except SSL.WantReadError:
                self._flush()
                self.line.bio_write(self.socket.recv(4096))
        self._flush()

    def ask(self, datagram, seconds=2.0):
        """Send a datagram; return the first that comes back, or nothing."""
        self.line.send(datagram)
        self._flush()
        self.socket.settimeout(seconds)
        with suppress(TimeoutError):
            self.line.bio_write(self.socket.recv(4096))
            with suppress(SSL.WantReadError):
                return self.line.recv(4096)
        return b""

    def close(self):
        """Forget it."""
        self.socket.close()

    def _flush(self):
        with suppress(SSL.WantReadError):
            while True:
                self.socket.send(self.line.bio_read(2048))


def resident_mb(folder):
    """Return the memory of each process of a server by name."""
    found = {}
    for name, pid in json.loads((folder / "run" / "serve.json").read_text())["pids"].items():
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        found[name, pid] = next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) >> 10
    return found
