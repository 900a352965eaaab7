"""Devices by a part of their name, found in an index of its trigrams (migration ``0019_index_of_names``)."""

from django.db import connection
from django.db.models import BooleanField, F, Func, Q, Value

#: a part that more names hold is found soon by a look at names in their order
MOST = 1000
_TRIGRAM = 3


class _HasTrigrams(Func):
    """Whether a name has every trigram of a part, on PostgreSQL; its planner asks the index where that is less work."""

    template = "devices_trigrams(%(expressions)s)"
    arg_joiner = ") @> devices_trigrams("
    output_field = BooleanField()


def name_holds(part: str) -> Q:
    """Return the condition that a device's name holds a part; case does not matter.

    Names are still compared themselves: the index narrows and decides nothing. SQLite has no planner that could weigh
    it, so that it is asked here; parts shorter than a trigram are looked for in all names.

    Args:
        part: of the name, as entered.
    """
    holds = Q(name__icontains=part)
    if len(part) < _TRIGRAM:
        return holds
    if connection.vendor == "postgresql":
        return holds & Q(_HasTrigrams(F("name"), Value(part)))
    found = _found_in_index(part)
    return holds if len(found) > MOST else holds & Q(pk__in=found)


def _found_in_index(part: str) -> list[int]:
    """Return the internal ids of devices whose names hold a part, at most one more than ``MOST``."""
    quoted = '"{}"'.format(part.replace('"', '""'))
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT rowid FROM devices_device_names WHERE devices_device_names MATCH %s LIMIT %s", [quoted, MOST + 1]
        )
        return [row for (row,) in cursor.fetchall()]
