"""PEM (RFC 7468) from users: exactly one object of the expected kind. Pure.

Libraries read the first object of a file and drop the rest, so that a second key or certificate is silently lost.
"""

import base64
import binascii
import re

from pki.kernel.errors import InvalidError

_BEGIN = re.compile(r"-----BEGIN ([A-Z0-9 ]{1,40})-----")


def demand_one_block(text: bytes | str, *kinds: str, what: str = "The file") -> bytes:
    """Return a PEM file that holds one object of a kind; text before and after it is allowed, as openssl writes it.

    Args:
        text: the file.
        kinds: labels that are accepted, such as ``CERTIFICATE``.
        what: names the file in the sentence of a refusal.

    Raises:
        InvalidError: none, several, another kind, or an object without its end.
    """
    data = text.encode("utf-8", "replace") if isinstance(text, str) else text
    blocks = _BEGIN.findall(data.decode("utf-8", "replace"))
    headers = " or ".join(f"`-----BEGIN {kind}-----`" for kind in kinds)
    if not blocks:
        msg = f"{what} is not PEM. Expected {headers}."
        raise InvalidError(msg)
    if len(blocks) > 1:
        msg = f"{what} holds {len(blocks)} objects ({', '.join(blocks[:5])}). Give one: {headers}."
        raise InvalidError(msg)
    if blocks[0] not in kinds or f"-----END {blocks[0]}-----".encode() not in data:
        msg = f"{what} holds {blocks[0]}, or lacks its end. Expected {headers}."
        raise InvalidError(msg)
    return data


def read_der(text: bytes | str, kind: str, what: str = "The file") -> bytes:
    """Return the DER of the one object of a PEM file.

    Raises:
        InvalidError: as ``demand_one_block``, or its base64 is malformed.
    """
    data = demand_one_block(text, kind, what=what).decode("utf-8", "replace")
    body = data.partition(f"-----BEGIN {kind}-----")[2].partition(f"-----END {kind}-----")[0]
    try:
        return base64.b64decode("".join(body.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        msg = f"{what} has no base64 between its first and last line."
        raise InvalidError(msg) from error
