"""Clone detection: the device repeats the token of the last answer; a clone soon cannot. Pure."""

from pki.kernel import cbor
from pki.kernel.errors import InvalidError

LONGEST_ANSWER, LONGEST_TOKEN = 256, 8


def read_fork_token(answer: bytes) -> str:
    """Return the token of a report's answer in hex; empty if it is missing or malformed."""
    if not answer:
        return ""
    try:
        body = cbor.loads(answer, max_bytes=LONGEST_ANSWER)
    except InvalidError:
        return ""
    token = body.get("fork") if isinstance(body, dict) else None
    return token.hex() if isinstance(token, bytes) and len(token) <= LONGEST_TOKEN else ""
