"""A writer that waits for SQLite comes in soon after the one before it."""

import sqlite3
import threading
import time
from contextlib import closing

import pytest
from django.db import connections
from django.db.utils import OperationalError

from fleet import environment
from fleet.sqlite.base import DatabaseWrapper


@pytest.fixture
def line(tmp_path, django_db_blocker):
    """Return a connection to a database of its own, as the settings describe one."""
    described = environment.database("", tmp_path / "db" / "own.sqlite3", durable=True)
    described = {**connections.settings["default"], **described}
    made = DatabaseWrapper(described, alias="own")
    with django_db_blocker.unblock():
        with made.cursor() as cursor:
            cursor.execute("CREATE TABLE things (name TEXT)")
        yield made
        made.close()


def busy(path, stopped, gap):
    """Write again and again, with a short gap between two transactions, as a long job does."""
    with closing(sqlite3.connect(path, isolation_level=None, timeout=20)) as other:
        while not stopped.is_set():
            other.execute("BEGIN IMMEDIATE")
            time.sleep(0.03)
            other.execute("COMMIT")
            time.sleep(gap)


def test_a_writer_gets_in_between_the_commits_of_a_busy_one(line):
    stopped = threading.Event()
    job = threading.Thread(target=busy, args=(line.settings_dict["NAME"], stopped, 0.006))
    job.start()
    try:
        waits = []
        for number in range(30):
            began = time.monotonic()
            with line.cursor() as cursor:
                line.set_autocommit(False, force_begin_transaction_with_broken_autocommit=True)
                waits.append(time.monotonic() - began)
                cursor.execute("INSERT INTO things VALUES (%s)", [str(number)])
            line.commit()
            line.set_autocommit(True)
    finally:
        stopped.set()
        job.join()
    # Each gap is long enough for a look: waiting for three transactions of the other one would be bad luck.
    assert sorted(waits)[len(waits) // 2] < 0.1, waits


def test_it_gives_up_after_the_timeout_and_waits_by_itself_afterwards(line):
    line.settings_dict["OPTIONS"]["timeout"] = 0.2
    with closing(sqlite3.connect(line.settings_dict["NAME"], isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        with pytest.raises(OperationalError, match="locked"):
            line.set_autocommit(False, force_begin_transaction_with_broken_autocommit=True)
        assert time.monotonic() - began >= 0.2
        other.execute("COMMIT")
    assert line.connection.execute("PRAGMA busy_timeout").fetchone() == (200,)


def test_another_fault_is_not_waited_for(line):
    line.connection.execute("BEGIN IMMEDIATE")
    with pytest.raises(OperationalError, match="within a transaction"):
        line._start_transaction_under_autocommit()
    line.connection.execute("COMMIT")
