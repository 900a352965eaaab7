"""The state of the update metadata's roles: signers, expiry, and when somebody must act. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

from ota.contract.tuf_json import RoleMetadata
from ota.trust import policy

GOOD, SOON, URGENT, OVER = "good", "soon", "urgent", "over"
BINS = "bins"
#: role -> so long before the end somebody should act, and so long before it somebody must; what a job signs anew at
#: half of its life is urgent only if that job does not run
TERMS = {
    Root.type: (timedelta(days=90), timedelta(days=30)),
    Targets.type: (timedelta(days=90), timedelta(days=30)),
    BINS: (timedelta(days=90), timedelta(days=30)),
    Snapshot.type: (timedelta(days=3), timedelta(days=1)),
    Timestamp.type: (timedelta(minutes=25), timedelta(minutes=15)),
}
_RENEWED_BY_WORKER = "The worker renews it automatically. Check that worker and signer run (`manage.py doctor`)."
ADVICE = {
    Root.type: "The officers must sign a next root: `muster-sign tuf-next-root`, then `manage.py release root`.",
    Targets.type: "The officers must sign for another year: `manage.py release renew`.",
    BINS: "The officers must sign for another year: `manage.py release renew`.",
    Snapshot.type: _RENEWED_BY_WORKER,
    Timestamp.type: _RENEWED_BY_WORKER,
}


@dataclass(frozen=True, slots=True)
class RoleStanding:
    """The state of one role.

    Args:
        role: of TUF; ``bins`` means all hash bins; the earliest expiry counts.
        version: of its document; for the bins how many they are.
        expires: when devices refuse it.
        threshold: how many must sign.
        holders: officers by name, or the ids of online keys.
        online: whether a key of this server signs it.
        level: good, soon (action advised), urgent (action required), over (devices refuse updates).
    """

    role: str
    version: int
    expires: datetime
    threshold: int
    holders: tuple[str, ...]
    online: bool
    level: str

    @property
    def advice(self) -> str:
        """Return what to do, or nothing while all is well."""
        return "" if self.level == GOOD else ADVICE[self.role]

    def to_dict(self) -> dict[str, object]:
        """Return it as JSON values."""
        return {
            "role": self.role,
            "version": self.version,
            "expires": self.expires.isoformat(),
            "threshold": self.threshold,
            "holders": list(self.holders),
            "online": self.online,
            "level": self.level,
            "advice": self.advice,
        }


def expiry_level(role: str, expires: datetime, now: datetime) -> str:
    """Return how urgent the end of a role's document is."""
    left, (soon, urgent) = expires - now, TERMS[role]
    if left <= timedelta(0):
        return OVER
    return URGENT if left <= urgent else SOON if left <= soon else GOOD


def role_standings(
    root: Metadata[Root], others: Iterable[RoleMetadata], ends: Sequence[datetime], now: datetime
) -> Iterator[RoleStanding]:
    """Yield the state of each role, the root first.

    Args:
        root: the installed one.
        others: targets, snapshot and timestamp, as far as they are there.
        ends: when each of the hash bins ends; none leaves them out.
        now: the present time.
    """
    for document in (root, *others):
        kind = document.signed.type
        held = root.signed.roles[kind]
        online = kind in policy.ONLINE
        names = (
            tuple(sorted(held.keyids)) if online else tuple(sorted(policy.role_officers(root.signed, kind).values()))
        )
        end = document.signed.expires
        yield RoleStanding(
            kind, document.signed.version, end, held.threshold, names, online, expiry_level(kind, end, now)
        )
    if ends:
        held = root.signed.roles[Targets.type]
        names = tuple(sorted(policy.role_officers(root.signed).values()))
        yield RoleStanding(
            BINS, len(ends), min(ends), held.threshold, names, online=False, level=expiry_level(BINS, min(ends), now)
        )
