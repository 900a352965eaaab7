"""The change feed: what is committed is read once, however late or out of order it is committed."""

import threading

import pytest
from django.db import connection, connections, transaction

from pki.models import Change
from pki.services import changes
from pki.services.changes import ChangeFeed

#: the threads of a test share one SQLite memory, locked as a whole; tests/faults/test_feed.py has processes and a file
pytestmark = pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite's part is in tests/faults")


@pytest.fixture(autouse=True)
def database(django_db_setup, django_db_blocker):
    """Commit for real: a feed is about what others commit. Only this table is written, and it is emptied again."""
    with django_db_blocker.unblock():
        yield
        Change.objects.all().delete()


@pytest.fixture
def feed():
    made = ChangeFeed()
    made.begin()
    return made


def in_thread(act):
    """Run something over a connection of its own, as another process would."""

    def run():
        try:
            act()
        finally:
            connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_nothing_is_news_at_first(feed):
    assert feed.news() == changes.News()


def test_what_another_process_commits_is_news_once(feed):
    in_thread(lambda: changes.note_changes("a", "b")).join()
    assert feed.news().subjects == ("a", "b")
    assert feed.news() == changes.News()


def test_what_is_rolled_back_is_no_news(feed):
    def act():
        with transaction.atomic():
            changes.note_changes("a")
            transaction.set_rollback(True)

    in_thread(act).join()
    assert feed.news() == changes.News()


def test_a_note_about_everything_says_so(feed):
    in_thread(changes.note_changes).join()
    assert feed.news().everything


def test_a_reader_that_slept_reads_everything_anew(feed):
    feed.heard_at -= changes.KEPT.total_seconds()
    assert feed.news().everything


def test_so_much_at_once_is_read_as_a_whole(feed, monkeypatch):
    monkeypatch.setattr(changes, "MOST_AT_ONCE", 3)
    in_thread(lambda: changes.note_changes("a", "b", "c", "d")).join()
    assert feed.news().everything


def test_a_later_commit_with_an_earlier_number_is_not_missed(feed):
    begun, go = threading.Event(), threading.Event()

    def slow():
        with transaction.atomic():
            changes.note_changes("slow")
            begun.set()
            go.wait(10)

    thread = in_thread(slow)
    begun.wait(10)
    in_thread(lambda: changes.note_changes("quick")).join()
    assert feed.news().subjects == ("quick",)
    go.set()
    thread.join()
    assert feed.news().subjects == ("slow",)
    assert feed.news() == changes.News()


def test_no_commit_is_missed_while_many_write(feed):
    def write(name):
        for number in range(250):
            with transaction.atomic():
                changes.note_changes(f"{name}-{number}")

    threads = [in_thread(lambda name=name: write(name)) for name in range(4)]
    seen = []
    while any(thread.is_alive() for thread in threads):
        seen += feed.news().subjects
    seen += feed.news().subjects
    assert sorted(seen) == sorted(f"{name}-{number}" for name in range(4) for number in range(250))


def test_old_rows_are_forgotten(feed):
    changes.note_changes("old")
    Change.objects.update(at="2020-01-01T00:00:00Z")
    changes.note_changes("new")
    assert changes.prune_changes() == 1
    assert [one.subject for one in Change.objects.all()] == ["new"]
