"""Download blobs from the server, or from the object store to which it redirects (307), with one redirect at most.

Metadata comes from the server only. The signed digest verifies the bytes, so their source needs no trust. But a
compromised server must not make devices probe hosts in their own networks. So a redirect must use `https` with a
publicly trusted certificate, and the device does not present its own certificate there.
"""

from collections.abc import Generator
from contextlib import closing
from urllib.parse import urlsplit

from fleet.agent.coap import CoapTransport
from fleet.agent.errors import AnswerError, RefusedError, TransportError
from fleet.agent.transport import Transport

_ELSEWHERE, _EXPIRED = 307, {401, 403}
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
LONGEST = 4096


def stream_blob(
    line: Transport | CoapTransport, digest: str, limit: int, headers: dict[str, str] | None = None
) -> Generator[tuple[int, bytes]]:
    """Yield (status, chunk) of a blob, up to ``limit`` bytes plus one chunk.

    Raises:
        AnswerError: the server refuses it.
        RefusedError: the redirect is not allowed.
        TransportError: the download broke off.
    """
    path, fields = f"/v1/blob/{digest}", headers or {}
    for attempt in range(2):
        try:
            yield from line.stream(path, limit, fields)
        except AnswerError as error:
            if error.status != _ELSEWHERE or not isinstance(line, Transport):
                raise
            address = error.location
        else:
            return
        try:
            yield from _elsewhere(address, line.host, limit, fields)
        except AnswerError as error:
            # The signed address has expired: the server issues a new one.
            if attempt or error.status not in _EXPIRED:
                msg = f"the object store answered {error.status}"  # without its body, which would contain the address
                raise TransportError(msg) from None
        else:
            return


def _elsewhere(address: str, server: str, limit: int, headers: dict[str, str]) -> Generator[tuple[int, bytes]]:
    parts = urlsplit(address)
    inside = parts.scheme == "http" and parts.hostname in _LOOPBACK and server in _LOOPBACK
    if not (parts.scheme == "https" or inside) or not parts.hostname or len(address) > LONGEST:
        msg = "the server redirects to an address that this device does not allow"
        raise RefusedError(msg)
    bucket = Transport(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}", None)
    # Its entity tag is not our digest; the whole file is verified afterwards.
    fields = {name: value for name, value in headers.items() if name != "If-Range"}
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    with closing(bucket), closing(bucket.stream(path, limit, fields)) as chunks:
        yield from chunks
