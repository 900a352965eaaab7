"""A minimal HTTP/1.1 client for benchmarks: its own cost must not distort the results."""

import base64
import socket
import ssl
from pathlib import Path


def basic_authorization(name: str, secret: str) -> str:
    """Return the value of an Authorization header."""
    return "Basic " + base64.b64encode(f"{name}:{secret}".encode()).decode()


def connect_tls(context: ssl.SSLContext, port: int) -> ssl.SSLSocket:
    """Return a connection to a server on loopback."""
    raw = socket.create_connection(("127.0.0.1", port), timeout=30)
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return context.wrap_socket(raw, server_hostname="localhost")


def exchange_request(line: ssl.SSLSocket, request: bytes) -> bytes:
    """Send a request and return the body of the response.

    Raises:
        OSError: the connection broke.
        RuntimeError: the response is an error.
    """
    line.sendall(request)
    data = b""
    while b"\r\n\r\n" not in data:
        data += _more(line)
    head, _, body = data.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 2"):
        msg = f"the server answered {head[:80]!r} {body[:200]!r}"
        raise RuntimeError(msg)
    length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0] or 0)
    while len(body) < length:
        body += _more(line)
    return body


def _more(line: ssl.SSLSocket) -> bytes:
    data = line.recv(65536)
    if not data:
        msg = "the server has closed the connection"
        raise OSError(msg)
    return data


def client_context(anchor: Path, identity: Path | None = None) -> ssl.SSLContext:
    """Return a TLS client context with the device's certificate and key (``NAME.pem`` and ``NAME.key``)."""
    context = ssl.create_default_context(cafile=str(anchor))
    if identity is not None:
        context.load_cert_chain(identity, identity.with_suffix(".key"))
    return context


def build_request(method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> bytes:
    """Return the bytes of a request."""
    fields = {"Host": "localhost", **(headers or {})}
    if body:
        fields["Content-Length"] = str(len(body))
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body
