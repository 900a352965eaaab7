"""Where the bytes of a blob come from: the server, or the bucket to which it sends us (307), and no further.

Metadata never comes from elsewhere. The bytes are believed by their signed digest alone, so whoever gives them needs no
trust; but a server in wrong hands must not use devices to knock at doors in their own networks: hence `https` with a
certificate that the world believes, and no certificate of ours is shown there.
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


def stream(
    line: Transport | CoapTransport, digest: str, limit: int, headers: dict[str, str] | None = None
) -> Generator[tuple[int, bytes]]:
    """Yield (status, chunk) of a blob, at most ``limit`` bytes and one chunk more.

    Raises:
        AnswerError: the server refuses it.
        RefusedError: the server sends us where no device goes.
        TransportError: it broke off, here or there.
    """
    path, wanted = f"/v1/blob/{digest}", headers or {}
    for attempt in range(2):
        try:
            yield from line.stream(path, limit, wanted)
        except AnswerError as error:
            if error.status != _ELSEWHERE or not isinstance(line, Transport):
                raise
            address = error.location
        else:
            return
        try:
            yield from _elsewhere(address, line.host, limit, wanted)
        except AnswerError as error:
            # It came too late, or after a pause: the server gives a fresh address.
            if attempt or error.status not in _EXPIRED:
                msg = f"the bucket answered {error.status}"  # and no word of its: the address would be in it
                raise TransportError(msg) from None
        else:
            return


def _elsewhere(address: str, server: str, limit: int, headers: dict[str, str]) -> Generator[tuple[int, bytes]]:
    parts = urlsplit(address)
    inside = parts.scheme == "http" and parts.hostname in _LOOPBACK and server in _LOOPBACK
    if not (parts.scheme == "https" or inside) or not parts.hostname or len(address) > LONGEST:
        msg = "the server sends this device to an address where it does not go"
        raise RefusedError(msg)
    bucket = Transport(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}", None)
    # Its entity tag is not our digest; what comes is compared as a whole.
    wanted = {name: value for name, value in headers.items() if name != "If-Range"}
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    with closing(bucket), closing(bucket.stream(path, limit, wanted)) as chunks:
        yield from chunks
