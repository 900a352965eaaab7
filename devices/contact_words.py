"""What one word says of a device's last contact: online, late, overdue or never. Pure.

A device polls each ``FLEET_POLL_S`` seconds. It is online for ``LATE`` intervals after its last contact, late until
``OVERDUE`` intervals have passed, and overdue from then on.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

#: polling intervals after which a device is late, and overdue
LATE, OVERDUE = 1.5, 3
ONLINE_WORD, LATE_WORD, OVERDUE_WORD, NEVER_WORD = PRESENCES = ("online", "late", "overdue", "never")
#: instead of a word, for devices that are permanently out of service
OUT_OF_SERVICE = ""
#: instead of a word, in the telemetry database: the main database may have this word already, or not yet
IN_CHANGE = "-"
#: seconds; more frequent polls change nothing in what is late
SHORTEST_POLL_S = 5


@dataclass(frozen=True, slots=True)
class ContactLimits:
    """The moments that part the words: who was heard before ``late`` is late, before ``overdue`` overdue."""

    late: datetime
    overdue: datetime


def contact_limits(now: datetime, poll_s: float) -> ContactLimits:
    """Return the limits at a moment, for a polling interval in seconds."""
    interval = timedelta(seconds=max(poll_s, SHORTEST_POLL_S))
    return ContactLimits(now - interval * LATE, now - interval * OVERDUE)
