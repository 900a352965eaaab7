"""Devices by a part of their name, found in an index of its trigrams (migration ``0019_index_of_names``)."""

from django.db import connection
from django.db.models import BooleanField, F, Func, IntegerField, Q, Value
from django.db.models.lookups import GreaterThanOrEqual, LessThanOrEqual

#: so many devices are named in the condition; SQLite may try every id with every name, which bounds them
MOST = 200
#: of so many the index still gives all in a few milliseconds; more hold the part so often that a look at names in the
#: order of the list soon fills a page
MANY = 20_000
_TRIGRAM = 3
_FOUND = "FROM devices_device_names WHERE devices_device_names MATCH %s"
_COUNT = f"SELECT count(*), min(rowid) FROM (SELECT rowid {_FOUND} LIMIT %s)"  # noqa: S608  because all of it is ours


class _HasTrigrams(Func):
    """Whether a name has every trigram of a part, on PostgreSQL; its planner asks the index where that is less work."""

    template = "devices_trigrams(%(expressions)s)"
    arg_joiner = ") @> devices_trigrams("
    output_field = BooleanField()


class _InIndex(Func):
    """The internal ids of devices whose names hold a phrase, on SQLite: a list for ``IN``."""

    template = "(SELECT rowid FROM devices_device_names WHERE devices_device_names MATCH %(expressions)s)"
    output_field = IntegerField()


class _Mostly(Func):
    """A comparison that SQLite is to take as true nearly always: where to begin, no reason to bring rows into order."""

    template = "likelihood(%(expressions)s, 0.999)"
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
    return holds & _narrowed('"{}"'.format(part.replace('"', '""')))


def one_of_few(few: dict[int, str]) -> Q:
    """Return the condition that a device is one of a few: an index of SQLite finds them for lists by name or by age.

    Args:
        few: internal id -> name, at most ``MOST``.
    """
    return Q(pk__in=list(few), name__in=list(few.values()))


def _narrowed(phrase: str) -> Q:
    """Return what the index of SQLite says of devices whose names hold a phrase.

    A few are named, by ids for lists of the newest and by names for those by name, so that nothing else is looked at,
    and no more than a page of them. More are found by the database as it goes through its list:
    newest first it takes them from the index, by name it passes those that are not in it. Of very many only the ends
    are given: a list of the newest would else look at all that are newer than the first that it wants.
    """
    with connection.cursor() as cursor:
        cursor.execute(_COUNT, [phrase, MANY + 1])
        many, first = cursor.fetchone()
        if many <= MOST:
            cursor.execute(f"SELECT rowid, name {_FOUND}", [phrase])
            return one_of_few(dict(cursor.fetchall()))
        if many <= MANY:
            return Q(pk__in=_InIndex(Value(phrase)))
        cursor.execute(f"SELECT rowid {_FOUND} ORDER BY rowid DESC LIMIT 1", [phrase])
        [last] = cursor.fetchone()
    return Q(_Mostly(GreaterThanOrEqual(F("pk"), first))) & Q(_Mostly(LessThanOrEqual(F("pk"), last)))
