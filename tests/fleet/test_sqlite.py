"""A writer that waits for SQLite comes in soon after the one before it."""

import sqlite3
import threading
import time
from contextlib import closing

import pytest
from django.db import connections
from django.db.utils import OperationalError, load_backend

from fleet import environment


@pytest.fixture
def line(tmp_path, django_db_blocker):
    """Return a connection to a database of its own, as the settings describe one."""
    described = environment.describe_database("", tmp_path / "db" / "own.sqlite3", durable=True)
    described = {**connections.settings["default"], **described}
    made = load_backend(described["ENGINE"]).DatabaseWrapper(described, alias="own")
    with django_db_blocker.unblock():
        with made.cursor() as cursor:
            cursor.execute("CREATE TABLE things (name TEXT)")
        yield made
        made.close()


class BusyJob(threading.Thread):
    """Writes again and again, with a short gap between two transactions, as a long job does; counts its commits."""

    def __init__(self, path, gap):
        super().__init__()
        self.path, self.gap, self.commits, self.stopped = path, gap, 0, threading.Event()

    def run(self):
        with closing(sqlite3.connect(self.path, isolation_level=None, timeout=20)) as other:
            while not self.stopped.is_set():
                other.execute("BEGIN IMMEDIATE")
                time.sleep(0.02)
                other.execute("COMMIT")
                self.commits += 1
                time.sleep(self.gap)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stopped.set()
        self.join()


def test_a_writer_gets_in_between_the_commits_of_a_busy_one(line):
    passed_by = []
    with BusyJob(line.settings_dict["NAME"], 0.006) as job:
        for number in range(30):
            time.sleep(0.03)  # so that it comes while the job is at work
            before = job.commits
            line.set_autocommit(False, force_begin_transaction_with_broken_autocommit=True)
            passed_by.append(job.commits - before)
            with line.cursor() as cursor:
                cursor.execute("INSERT INTO things VALUES (%s)", [str(number)])
            line.commit()
            line.set_autocommit(True)
    # Each gap is long enough for a look, so that the next one is the writer's; a busy machine may hold it up at times.
    assert sorted(passed_by)[len(passed_by) // 2] <= 1, passed_by


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
