"""What a device remembers of online keys: the time they signed, how far they counted, which ledger they showed.

A thief of those keys can sign any of that, a time in the next century too, and a device that believed it for ever would
be lost. So each fact is kept with the key that said it, and forgotten once the officers' root names that key no more.
Beneath all lies what people said: when this agent was built, and when the root was signed.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import TypedDict

from fleet.agent.errors import RefusedError
from fleet.agent.state import State
from pki.kernel import clock

#: no clock of a device is believed to stand before this
BUILT = datetime(2026, 11, 1, tzinfo=UTC)
#: officers sign a root for a year; it was not signed earlier than this before its end
ROOT_LIFE = timedelta(days=400)
#: a document of the director lives at most this long, and may be signed so long after the timestamp's end
DIRECTOR_LIFE, SKEW = timedelta(hours=1, minutes=5), timedelta(minutes=5)
#: seconds that a version may lie above the time at which it was signed (as the signer allows)
AHEAD = 3600
FACTS = ("director_version", "signed_time", "ledger_head")


class Dated(TypedDict):
    """What is remembered of a document of the director: when it holds, and its version."""

    issued: str
    expires: str
    version: int


def forget(state: State, named: Iterable[str]) -> None:
    """Drop what was learned from keys that the root names no more."""
    by: dict[str, str] = state.get("learned_from", {})
    known = set(named)
    lost = [name for name in FACTS if name in by and by[name] not in known]
    if lost:
        left = {name: key for name, key in by.items() if name not in lost}
        state.put(learned_from=left, **dict.fromkeys(lost))


def learn(state: State, keyid: str, **facts: object) -> None:
    """Keep facts with the key that said them."""
    state.put(learned_from={**state.get("learned_from", {}), **dict.fromkeys(facts, keyid)}, **facts)


def now(state: State, root_expires: datetime) -> datetime:
    """Return the time that holds: the clock's, but never before what was signed.

    Args:
        state: of the device.
        root_expires: end of the root that is trusted; people signed it at most 400 days before.
    """
    floors = [BUILT, root_expires - ROOT_LIFE]
    if signed := state.get("signed_time"):
        floors.append(datetime.fromisoformat(signed))
    return max(clock.now(), *floors)


def check_bounds(signed: Dated, timestamp_expires: datetime, root_expires: datetime) -> None:
    """Refuse a director document whose time or version would block this device once it is remembered.

    The thief of an online key can sign any time and version. What is remembered is bounded by the timestamp that was
    verified in the same look, by the end of the root that officers signed, and versions by the time of signing.

    Args:
        signed: the document: ``issued``, ``expires``, ``version``.
        timestamp_expires: end of the verified timestamp.
        root_expires: end of the trusted root.

    Raises:
        RefusedError: it lies beyond one of them.
    """
    issued, expires = (datetime.fromisoformat(one) for one in (signed["issued"], signed["expires"]))
    if issued > min(timestamp_expires + SKEW, root_expires):
        msg = f"the director's document is issued in the future: {issued:%Y-%m-%d %H:%M}"
        raise RefusedError(msg)
    if not issued <= expires <= issued + DIRECTOR_LIFE:
        msg = f"the director's document lives longer than {DIRECTOR_LIFE}"
        raise RefusedError(msg)
    most = int(issued.timestamp()) + AHEAD
    if type(signed["version"]) is not int or not 0 < signed["version"] <= most:
        msg = f"the version of the director's document is not between 1 and {most}"
        raise RefusedError(msg)
