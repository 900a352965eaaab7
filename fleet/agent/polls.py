"""Parse the answer to a poll as untrusted input."""

from dataclasses import dataclass
from typing import Any

from fleet.agent.errors import TransportError
from pki.kernel import cbor
from pki.kernel.errors import InvalidError

#: longest poll interval that a device accepts: one day
MOST_PAUSE = 86_400.0
MAX_POLL = 4096


@dataclass(frozen=True, slots=True)
class Said:
    """The answer to a poll.

    Args:
        update: id of a pending action.
        pause: seconds until the next poll.
        renew: the certificate is due for renewal.
        command: a command is pending.
        twin: a configuration is pending.
    """

    update: int | None
    pause: float
    renew: bool
    command: bool
    twin: bool


def read_poll_answer(data: bytes) -> Said:
    """Return the parsed answer.

    Raises:
        TransportError: it is malformed; the device retries later.
    """
    try:
        # untyped: the code below catches every shape error
        body: Any = cbor.loads(data, max_bytes=MAX_POLL)
        offered = int(body["update"]) if "update" in body else None
        pause = min(max(float(body["next"]), 0.0), MOST_PAUSE)
        return Said(offered, pause, body.get("renew") is True, body.get("command") is True, "twin" in body)
    except (InvalidError, KeyError, TypeError, ValueError, OverflowError) as error:
        msg = f"the answer to a poll is malformed: {error}"
        raise TransportError(msg) from error
