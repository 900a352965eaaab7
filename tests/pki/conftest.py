"""What the ground floor's tests share: a journal of their own, and hands on the database below its triggers."""

import secrets
import shutil
from importlib import import_module
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection, transaction

from pki.models import LedgerEdge, LedgerEntry, LedgerHead, LedgerNode, LedgerOrder, TrustDomain
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
    signing.signer_client("admin").create_online_keys(domain.slug)

    def write(*names, publish=True):
        with transaction.atomic():
            for name in names:
                ledger.record(actor=system(domain), action="thing.done", thing=("thing", name), detail={"n": 1})
        return ledger.sequence_leaves(domain=domain) if publish else None

    return write


@pytest.fixture
def database(django_db_setup, django_db_blocker):
    """Commit for real: other transactions see nothing else."""
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has one writer at a time: ids follow the commits")
    with django_db_blocker.unblock():
        yield


@pytest.fixture
def real(database, signer, journal_files):
    """Return a domain; its rows are removed again as the database's owner would."""
    domain = TrustDomain.objects.create(slug=f"d{secrets.token_hex(6)}", name="Interleaved")
    signing.signer_client("admin").create_online_keys(domain.slug)
    yield domain
    owner = Owner()
    with transaction.atomic():
        triggers.allow(None, owner)
        for table in (LedgerNode, LedgerEdge, LedgerOrder, LedgerHead, LedgerEntry):
            table.objects.filter(domain=domain).delete()
        connection.check_constraints()
        triggers.forbid(None, owner)
    domain.delete()
