"""What a server says to a poll, read as what it is: a word from outside."""

from dataclasses import dataclass
from typing import Any

from fleet.agent.errors import TransportError
from pki.kernel import cbor
from pki.kernel.errors import InvalidError

#: no server may send a device to sleep for longer than a day
MOST_PAUSE = 86_400.0
MAX_POLL = 4096


@dataclass(frozen=True, slots=True)
class Said:
    """What a server says to a poll.

    Args:
        update: id of an action that waits.
        pause: seconds until the next poll.
        renew: get a new certificate.
        command: a command waits.
        twin: a configuration waits.
    """

    update: int | None
    pause: float
    renew: bool
    command: bool
    twin: bool


def read(data: bytes) -> Said:
    """Return what an answer says.

    Raises:
        TransportError: it makes no sense; that is no reason for a device to stop.
    """
    try:
        # untyped: each fault of its shape is caught below
        body: Any = cbor.loads(data, max_bytes=MAX_POLL)
        offered = int(body["update"]) if "update" in body else None
        pause = min(max(float(body["next"]), 0.0), MOST_PAUSE)
        return Said(offered, pause, body.get("renew") is True, body.get("command") is True, "twin" in body)
    except (InvalidError, KeyError, TypeError, ValueError, OverflowError) as error:
        msg = f"the answer to a poll is malformed: {error}"
        raise TransportError(msg) from error
