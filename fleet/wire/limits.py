"""The limits and deadlines of every listener: operator server, device gateway, CRL/OCSP responder, CoAP over TLS.

One place, so that no listener is weaker than another. ``tests/fleet/test_listeners.py`` tries each of them on each one.
"""

#: of a request: its first line, the number of its header fields, and all of its head
MOST_LINE, MOST_FIELDS, MOST_HEAD = 8 * 1024, 100, 16 * 1024
#: from the first byte of a head to its end
HEAD_SECONDS = 10.0
#: a connection on which no request is under way and nothing comes is closed after this time
IDLE_SECONDS = 75.0
#: fields of a query; no resource takes half as many
MOST_QUERY = 20
#: bytes of chunk sizes, chunk extensions and trailers: so many, and so many more for each byte of the body. A body that
#: comes in chunks of one byte needs five.
FRAMING, FRAMING_A_BYTE = 16 * 1024, 8
#: longest pause within a body, and the least speed of a body after its first seconds, in bytes a second
GAP_SECONDS, BODY_GRACE_SECONDS, LEAST_SPEED = 30.0, 30.0, 128
#: requests that wait on one connection while another one is being answered
MOST_PIPELINED = 16
#: a reader that takes nothing for so long is slower than any that we wait for (a piece of a file at 1 KiB/s)
STALL_SECONDS = 600.0
#: who is refused in the middle of a body may send so much more, for so long, so that the refusal is read
LINGER_SECONDS, LINGER_BYTES = 2.0, 1 << 20
#: connections of all who have shown no certificate, and of one network among them; whoever was answered longest ago,
#: or never, makes room
MOST_UNNAMED, MOST_OF_NETWORK = 4000, 1000
#: of all together; whoever comes then is told when to come again
MOST_OPEN, COME_AGAIN_SECONDS = 10_000, 30
#: TLS handshakes: from the first byte to the last
HANDSHAKE_SECONDS = 10.0
#: how long a closed connection waits for the other end's goodbye; most clients never send one
CLOSE_SECONDS = 1.0
#: how long nothing is read from a connection whose request was refused because of its rate
HOLD_SECONDS = 1.0
