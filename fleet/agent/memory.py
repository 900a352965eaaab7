"""Facts that a device stores from online keys: signed time, document versions, audit-log head.

A thief of an online key can sign any of them, even a time in the next century, and would disable a device that trusted
it forever. So each fact is stored with its key, and deleted once the officers' root no longer lists that key. The lower
bound of the time comes from people: when this agent was built, and when the root was signed.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import TypedDict

from fleet.agent.errors import RefusedError
from fleet.agent.state import StateFile
from pki.kernel import clock

#: earliest time that a device accepts from its clock
BUILT = datetime(2026, 11, 1, tzinfo=UTC)
#: longest validity of a root: officers sign it for a year
ROOT_LIFE = timedelta(days=400)
#: longest validity of a director document, and latest signing time after the timestamp's expiry
DIRECTOR_LIFE, SKEW = timedelta(hours=1, minutes=5), timedelta(minutes=5)
#: seconds that a version may exceed its signing time (the same limit as in the signer)
AHEAD = 3600
FACTS = ("director_version", "signed_time", "ledger_head")


class Dated(TypedDict):
    """The stored facts of a director document: validity and version."""

    issued: str
    expires: str
    version: int


def forget_keys(state: StateFile, named: Iterable[str]) -> None:
    """Delete facts from keys that the root no longer lists."""
    by: dict[str, str] = state.get("learned_from", {})
    known = set(named)
    lost = [name for name in FACTS if name in by and by[name] not in known]
    if lost:
        left = {name: key for name, key in by.items() if name not in lost}
        state.put(learned_from=left, **dict.fromkeys(lost))


def learn_facts(state: StateFile, keyid: str, **facts: object) -> None:
    """Store facts with the key that signed them."""
    state.put(learned_from={**state.get("learned_from", {}), **dict.fromkeys(facts, keyid)}, **facts)


def effective_time(state: StateFile, root_expires: datetime) -> datetime:
    """Return the effective time: the clock, but never before a signed time.

    Args:
        state: of the device.
        root_expires: expiry of the trusted root, which was signed at most 400 days before.
    """
    floors = [BUILT, root_expires - ROOT_LIFE]
    if signed := state.get("signed_time"):
        floors.append(datetime.fromisoformat(signed))
    return max(clock.now(), *floors)


def check_bounds(signed: Dated, timestamp_expires: datetime, root_expires: datetime) -> None:
    """Refuse a director document whose time or version would block this device once it is stored.

    The thief of an online key can sign any time and version. So times are bounded by the timestamp that was verified in
    the same check and by the expiry of the officers' root, and versions by the signing time.

    Args:
        signed: the document: ``issued``, ``expires``, ``version``.
        timestamp_expires: end of the verified timestamp.
        root_expires: end of the trusted root.

    Raises:
        RefusedError: it exceeds one of the bounds.
    """
    issued, expires = (datetime.fromisoformat(text) for text in (signed["issued"], signed["expires"]))
    if issued > min(timestamp_expires + SKEW, root_expires):
        msg = f"the director's document is issued in the future: {issued:%Y-%m-%d %H:%M}"
        raise RefusedError(msg)
    if not issued <= expires <= issued + DIRECTOR_LIFE:
        msg = f"the director's document is valid for longer than {DIRECTOR_LIFE}"
        raise RefusedError(msg)
    most = int(issued.timestamp()) + AHEAD
    if type(signed["version"]) is not int or not 0 < signed["version"] <= most:
        msg = f"the version of the director's document must be between 1 and {most}"
        raise RefusedError(msg)
