"""The order of the ledger: only new entries are read, and none is passed over, however late it is committed."""

import threading
import time

import pytest
from django.db import connection, connections, transaction
from django.test.utils import CaptureQueriesContext

from pki.kernel import actor as actors
from pki.models import LedgerEntry, LedgerOrder
from pki.services import ledger
from pki.services.ledger_place import place_of


@pytest.mark.django_db
@pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL settles nothing within one transaction")
def test_only_entries_above_the_settled_ones_are_read(book, domain):
    book("a", "b", "c")
    last = LedgerEntry.objects.filter(domain=domain).latest("id").pk
    with CaptureQueriesContext(connection) as asked:
        assert ledger.sequence_leaves(domain=domain) is None
    looks = [query["sql"] for query in asked if 'pki_ledgerorder"."id" IS NULL' in query["sql"]]
    assert len(looks) == 1
    assert f'"pki_ledgerentry"."id" > {last}' in looks[0]


class Writer:
    """Another process that writes one entry and commits it, or not, when it is told to."""

    def __init__(self, domain, name):
        self.domain, self.name, self.keep = domain, name, True
        self._written, self._goes_on = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        assert self._written.wait(20)

    def _run(self):
        try:
            with transaction.atomic():
                write(self.domain, self.name)
                self._written.set()
                self._goes_on.wait(20)
                transaction.set_rollback(not self.keep)
        finally:
            connections.close_all()

    def end(self, *, keep=True):
        self.keep = keep
        self._goes_on.set()
        self._thread.join()


def write(domain, name):
    ledger.record(actor=actors.system_actor(domain.slug, "test"), action="test.done", thing=("test", name))


def commit(domain, name):
    with transaction.atomic():
        write(domain, name)


def wait_for_earlier_writers(seconds=300):
    """Wait until no transaction of the whole server, in other databases too, is older than this moment.

    The tests that run beside this one have databases of their own on the same server, and transactions as long as
    a test: the place rightly waits for them, so a test of when it moves waits too.
    """
    until = time.monotonic() + seconds
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint")
        (now,) = cursor.fetchone()
        while time.monotonic() < until:
            cursor.execute("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
            if cursor.fetchone()[0] >= now:
                return
            time.sleep(0.1)
    pytest.fail(f"a transaction of this server ran for more than {seconds} s")


def placed(domain):
    """Return what has its place, in order, and check that no place is left out."""
    rows = LedgerOrder.objects.filter(domain=domain).order_by("index")
    found = list(rows.values_list("index", "entry__object_key"))
    assert [index for index, _ in found] == list(range(len(found)))
    return [name for _, name in found]


def test_an_entry_that_is_committed_after_later_ones_gets_its_place(real):
    commit(real, "first")
    ledger.sequence_leaves(domain=real)
    late = Writer(real, "late")
    for number in range(5):  # looks go on, and the place would move on if it ignored who still writes
        commit(real, f"later-{number}")
        ledger.sequence_leaves(domain=real)
    hidden = LedgerEntry.objects.filter(domain=real).order_by("id").values_list("id", flat=True)[1]
    assert place_of(real.pk).settled < hidden - 1
    assert "late" not in placed(real)
    late.end()
    ledger.sequence_leaves(domain=real)
    assert placed(real) == ["first", *(f"later-{number}" for number in range(5)), "late"]


def test_looks_begin_above_what_is_settled_once_its_writers_have_ended(real):
    lost = Writer(real, "lost")
    commit(real, "kept")
    for _ in range(3):
        ledger.sequence_leaves(domain=real)
    assert place_of(real.pk).settled == 0
    lost.end(keep=False)
    wait_for_earlier_writers()
    for _ in range(3):
        ledger.sequence_leaves(domain=real)
    assert place_of(real.pk).settled == LedgerEntry.objects.filter(domain=real).latest("id").pk
    assert placed(real) == ["kept"]


def test_no_entry_is_left_out_whatever_the_order_of_commits(real):
    for turn in range(6):
        one, other = Writer(real, f"{turn}-one"), Writer(real, f"{turn}-other")
        ledger.sequence_leaves(domain=real)
        (other if turn % 2 else one).end()
        ledger.sequence_leaves(domain=real)
        commit(real, f"{turn}-third")
        ledger.sequence_leaves(domain=real)
        (one if turn % 2 else other).end()
        ledger.sequence_leaves(domain=real)
    names = [f"{turn}-{name}" for turn in range(6) for name in ("one", "other", "third")]
    assert sorted(placed(real)) == sorted(names)
