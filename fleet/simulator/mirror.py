"""A hostile mirror: it serves tampered images of the right length over plain HTTP on loopback."""

import http.server
import threading
from collections.abc import Callable


class HostileMirror:
    """Serve the image of a known digest with flipped payload bits.

    Args:
        images: returns the original bytes of a digest if the attacker has a copy, else None.
    """

    def __init__(self, images: Callable[[str], bytes | None]) -> None:
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                known = images(self.path.strip("/"))
                data = tamper_bytes(known) if known else b""
                self.send_response(200 if known else 404)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                """Suppress the access log."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()


def tamper_bytes(data: bytes) -> bytes:
    """Return the bytes with one bit flipped in every kilobyte after the first."""
    changed = bytearray(data)
    for position in range(1024, len(changed), 1024):
        changed[position] ^= 1
    return bytes(changed)
