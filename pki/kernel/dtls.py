"""Facts of DTLS 1.2 that both ends need: the sizes of its records, and where they end. Plain Python."""

from collections.abc import Iterator

#: type, version, epoch, sequence number, length (RFC 6347, 4.1)
RECORD_HEADER = 13
#: largest record in bytes: fits into one datagram without fragmentation on most paths
CIPHERTEXT_MTU = 1200
#: OpenSSL's SSL_OP_NO_QUERY_MTU: memory buffers know no MTU
NO_QUERY_MTU = 1 << 12
#: where a header says the length of what follows, in its last two bytes
_LENGTH = 11


def split_records(data: bytes) -> Iterator[bytes]:
    """Yield the records that OpenSSL wrote into a memory buffer one after the other; each is sent as one datagram.

    Args:
        data: whole records. What follows the last header is yielded as it is, and less than a header is dropped.
    """
    offset = 0
    while offset + RECORD_HEADER <= len(data):
        end = offset + RECORD_HEADER + int.from_bytes(data[offset + _LENGTH : offset + RECORD_HEADER], "big")
        yield data[offset:end]
        offset = end
