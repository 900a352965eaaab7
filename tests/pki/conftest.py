"""What the ground floor's tests share: a journal of their own, and hands on the database below its triggers."""

import shutil
from importlib import import_module
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection, transaction

from pki.services import ledger, signing
from tests.factories.ground import system

triggers = import_module("pki.migrations.0002_ledger_is_immutable")


@pytest.fixture
def journal_files(tmp_path):
    """Return the journal's folder, empty for this test; what other tests wrote comes back afterwards."""
    folder, kept = Path(settings.FLEET_DIR) / "journal", tmp_path / "kept"
    folder.mkdir(mode=0o700, exist_ok=True)
    folder.rename(kept)
    folder.mkdir(mode=0o700)
    yield folder
    shutil.rmtree(folder)
    kept.rename(folder)


class Owner:
    """Whoever owns the database: nothing that it refuses by itself stops him."""

    def __init__(self):
        self.connection = connection

    def execute(self, statement, values=None):
        with connection.cursor() as cursor:
            cursor.execute(statement, values)

    def take_triggers_away(self):
        connection.check_constraints()
        triggers.allow(None, self)


@pytest.fixture
def owner(db):
    """Return the database's owner, who has taken the triggers away."""
    one = Owner()
    one.take_triggers_away()
    return one


@pytest.fixture
def book(journal_files, domain):
    """Return a way to write entries into the domain's ledger and to publish its head."""
    signing.client("admin").create_online_keys(domain.slug)

    def write(*names, publish=True):
        with transaction.atomic():
            for name in names:
                ledger.record(actor=system(domain), action="thing.done", thing=("thing", name), detail={"n": 1})
        return ledger.sequence(domain=domain) if publish else None

    return write
