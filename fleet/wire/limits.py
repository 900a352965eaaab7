"""The limits and deadlines of every listener: operator server, device gateway, CRL/OCSP responder, CoAP over TLS.

They are in one module, so that no listener is weaker than another: ``tests/fleet/test_listeners.py`` tests each one.
"""

#: limits of a request: bytes of its first line, number of header fields, bytes of its head
MOST_LINE, MOST_FIELDS, MOST_HEAD = 8 * 1024, 100, 16 * 1024
#: seconds from the first byte of a head to its end
HEAD_SECONDS = 10.0
#: seconds until an idle connection is closed
IDLE_SECONDS = 75.0
#: most fields of a query; no resource uses half as many
MOST_QUERY = 20
#: bytes of chunk sizes, chunk extensions and trailers: a base, and an allowance per byte of the body. A body in chunks
#: of one byte needs five per byte.
FRAMING, FRAMING_A_BYTE = 16 * 1024, 8
#: longest pause within a body in seconds, and least speed of a body after its first seconds in bytes per second
GAP_SECONDS, BODY_GRACE_SECONDS, LEAST_SPEED = 30.0, 30.0, 128
#: most pipelined requests that wait on one connection
MOST_PIPELINED = 16
#: seconds until a reader that reads nothing is disconnected (a piece of a file takes less at 1 KiB/s)
STALL_SECONDS = 600.0
#: bytes and seconds that a refused client may still send, so that it can read the refusal
LINGER_SECONDS, LINGER_BYTES = 2.0, 1 << 20
#: connections of all clients without a certificate, and of one network among them; the least recently answered one is
#: evicted
MOST_UNNAMED, MOST_OF_NETWORK = 4000, 1000
#: connections of all clients; further ones receive 503 with Retry-After
MOST_OPEN, COME_AGAIN_SECONDS = 10_000, 30
#: seconds for a TLS handshake
HANDSHAKE_SECONDS = 10.0
#: seconds that a closed connection waits for the peer's close_notify; most clients never send one
CLOSE_SECONDS = 1.0
#: seconds without reading from a connection after a rate limit refusal
HOLD_SECONDS = 1.0
