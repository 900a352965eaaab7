"""Update the presence in the main database (``Device.presence``) from the last contact in the telemetry database.

Listeners write contacts to the telemetry database only. Each row there holds the word that the main database was given
for its device, so an index of word and time finds the devices whose word is outdated, and only those are read. The main
database is written first: after a crash in between, the row still holds the old word and the same is done again.
"""

import time
from collections.abc import Iterator, Sequence
from typing import TypeAlias

from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet

from devices.contact_words import (
    IN_CHANGE,
    LATE_WORD,
    NEVER_WORD,
    ONLINE_WORD,
    OUT_OF_SERVICE,
    OVERDUE_WORD,
    PRESENCES,
    ContactLimits,
    contact_limits,
)
from devices.models import Device, Presence
from devices.services import fleet_counts
from pki.kernel import clock
from pki.models import TrustDomain
from pki.selectors import list_domains

#: devices that one commit changes
BATCH = 1000
#: seconds between two commits: a writer that waits for SQLite's lock gets it in between
PAUSE_S = 0.005
_Contacts: TypeAlias = "QuerySet[Presence, Presence]"


def keep_presence() -> int:
    """Update the presence words of all domains, and add up the counts of each; return how many words changed."""
    changed = sweep_presence()
    for domain in list_domains():
        fleet_counts.fold_counts(domain=domain)
    return changed


def check_presence(*, domain: TrustDomain) -> int:
    """Compare every word of a domain with the telemetry database, and the counts with the words; return what differed.

    They differ after one of the databases was restored, or lost its last seconds.
    """
    differing, last_pk = 0, 0
    while some := _words_after(domain, last_pk):
        differing += _reconcile(some)
        last_pk = max(some)
    return differing + len(fleet_counts.recount_fleet(domain=domain))


def sweep_presence() -> int:
    """Update the words that are outdated by the last contacts, in small commits; return how many."""
    changed = 0
    for rows, old, word in outdated_contacts(contact_limits(clock.now(), settings.FLEET_POLL_S)):
        # Looked for first: a transaction would take SQLite's write lock, and nearly always nothing is outdated.
        # In order, which `exists` would drop.
        while rows.values_list("device_id").first() and (done := _step(rows, old, word)):
            changed += done if old == IN_CHANGE else 0
            time.sleep(PAUSE_S)
    return changed


def outdated_contacts(limits: ContactLimits) -> Iterator[tuple[_Contacts, str, str]]:
    """Yield contacts whose word is outdated, with that word and the correct one."""
    ranges = (
        (OVERDUE_WORD, Q(last_seen__lt=limits.overdue)),
        (LATE_WORD, Q(last_seen__gte=limits.overdue, last_seen__lt=limits.late)),
        (ONLINE_WORD, Q(last_seen__gte=limits.late)),
    )
    for word, condition in ranges:
        for old in (*PRESENCES, IN_CHANGE):
            if old != word:
                # In the order of the index, so that no planner prefers to read the table.
                yield Presence.objects.filter(condition, word=old).order_by("last_seen"), old, word


def _step(rows: _Contacts, old: str, word: str) -> int:
    """Do the next of two steps with some contacts; return with how many.

    A word is struck out first, in a commit of its own, then written to the main database and here. A process that stops
    in between leaves it struck out, and the next run writes it, even if the device changed meanwhile. The contacts are
    locked in each step: two workers never write the words of one device across each other.
    """
    with transaction.atomic(using="telemetry"):
        keys = list(rows.select_for_update(skip_locked=True).values_list("device_id", flat=True)[:BATCH])
        if old == IN_CHANGE:
            _write_words(keys, word)
        return Presence.objects.filter(device_id__in=keys).update(word=word if old == IN_CHANGE else IN_CHANGE)


def _write_words(keys: Sequence[int], word: str) -> None:
    """Write a word of at most ``BATCH`` devices to the main database, with the counts; devices out of service stay."""
    with transaction.atomic():
        rows = Device.objects.filter(pk__in=keys).exclude(presence__in=[OUT_OF_SERVICE, word]).order_by("pk")
        locked = list(rows.select_for_update(no_key=True).values_list("pk", "domain_id", "presence"))
        if not locked:
            return
        Device.objects.filter(pk__in=[key for key, _, _ in locked]).update(presence=word)
        deltas: dict[tuple[int, str], int] = {}
        for _, domain, old in locked:
            deltas[domain, old] = deltas.get((domain, old), 0) - 1
            deltas[domain, word] = deltas.get((domain, word), 0) + 1
        fleet_counts.note_counts(deltas)


def _words_after(domain: TrustDomain, last_pk: int) -> dict[int, str]:
    rows = Device.objects.filter(domain=domain, pk__gt=last_pk).exclude(presence=OUT_OF_SERVICE).order_by("pk")
    return dict(rows.values_list("pk", "presence")[:BATCH])


def _reconcile(words: dict[int, str]) -> int:
    """Have the sweep rewrite these devices' words where the databases differ; return how many devices those are."""
    contacts = Presence.objects.filter(device_id__in=list(words))
    known = dict(contacts.values_list("device_id", "word"))
    differing = [key for key, word in words.items() if known.get(key, NEVER_WORD) not in {word, IN_CHANGE}]
    if differing:
        _strike_out([key for key in differing if key in known])
        _write_words([key for key in differing if key not in known], NEVER_WORD)
    return len(differing)


def _strike_out(keys: Sequence[int]) -> None:
    """Strike words out in the order in which listeners take these rows; what one of them holds is passed over."""
    with transaction.atomic(using="telemetry"):
        rows = Presence.objects.filter(device_id__in=keys).order_by("device_id")
        free = list(rows.select_for_update(skip_locked=True).values_list("device_id", flat=True))
        Presence.objects.filter(device_id__in=free).update(word=IN_CHANGE)
