"""What a device remembers of online keys: the time they signed, how far they counted, which ledger they showed.

A thief of those keys can sign any of that, a time in the next century too, and a device that believed it for ever would
be lost. So each fact is kept with the key that said it, and forgotten once the officers' root names that key no more.
Beneath all lies what people said: when this agent was built, and when the root was signed.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from fleet.agent.state import State
from pki.kernel import clock

#: no clock of a device is believed to stand before this
BUILT = datetime(2026, 11, 1, tzinfo=UTC)
#: officers sign a root for a year; it was not signed earlier than this before its end
ROOT_LIFE = timedelta(days=400)
FACTS = ("director_version", "signed_time", "ledger_head")


def forget(state: State, named: Iterable[str]) -> None:
    """Drop what was learned from keys that the root names no more."""
    by: dict[str, str] = state.get("learned_from", {})
    known = set(named)
    lost = [name for name in FACTS if name in by and by[name] not in known]
    if lost:
        left = {name: key for name, key in by.items() if name not in lost}
        state.put(learned_from=left, **dict.fromkeys(lost))


def learn(state: State, keyid: str, **facts: Any) -> None:
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
