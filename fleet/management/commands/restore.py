"""``manage.py restore FILE [--resume]`` and ``manage.py restore --resume``."""

import json
import os
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import TypedDict, Unpack

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connections
from django.db.migrations.executor import MigrationExecutor

from devices.services import forks, oscore
from fleet.jobs import leases
from fleet.management import archive
from fleet.management.command_support import command_errors, provide_signer
from pki.services import restore_check
from pki.signer.client import is_signer_listening

ALIASES = ("default", "telemetry")


class RestoreOptions(TypedDict):
    """Options of the command."""

    file: Path | None
    resume: bool
    json: bool


class Command(BaseCommand):
    """Restore a backup, then bring it up to date from the journal."""

    help = "Restore both databases from a backup. --resume applies the journal entries that the databases lack."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument("file", type=Path, nargs="?", help="file of the backup")
        parser.add_argument("--resume", action="store_true", help="apply the journal entries that the databases lack")
        parser.add_argument("--json", action="store_true", help="write the result as JSON")

    def handle(self, *_args: object, **options: Unpack[RestoreOptions]) -> None:
        """Restore, resume, or both."""
        if options["file"] is None and not options["resume"]:
            msg = "Nothing to do. Give a backup file, --resume, or both."
            raise CommandError(msg)
        if is_signer_listening(settings.FLEET_DIR):
            msg = "The server is running. Stop it first."
            raise CommandError(msg)
        if options["file"]:
            self._restore(options["file"])
        if waiting := _migrations():
            todo = "Run `manage.py upgrade`, then `manage.py restore --resume`."
            msg = f"The backup is of an older version ({waiting} pending migrations). {todo}"
            raise CommandError(msg)
        oscore.distrust_numbers()
        forks.forget_fork_tokens()
        leases.forget_leases()
        if options["resume"]:
            self._resume(as_json=options["json"])
        elif problems := restore_check.restore_problems():
            self.stdout.write(f"{' '.join(problems)} Run `manage.py restore --resume` before you start the server.")

    def _restore(self, path: Path) -> None:
        if any(connections[alias].vendor != "sqlite" for alias in ALIASES):
            todo = "Restore both databases with pg_restore, then run `manage.py restore --resume`."
            msg = f"This installation uses PostgreSQL. {todo}"
            raise CommandError(msg)
        targets = {one.name: one for one in (Path(str(settings.DATABASES[alias]["NAME"])) for alias in ALIASES)}
        connections.close_all()
        with tempfile.TemporaryDirectory(prefix=".restore-", dir=next(iter(targets.values())).parent) as folder:
            with command_errors():
                paths = archive.unpack_databases(path, Path(folder), set(targets))
            for name, copy in paths.items():
                _check(name, copy)
            for name, copy in paths.items():
                _put(copy, targets[name])
        self.stdout.write(f"Restored both databases from {path}.")

    def _resume(self, *, as_json: bool) -> None:
        with provide_signer():
            resumed = restore_check.resume_after_restore()
        facts = {"applied": resumed.applied, "refused": resumed.refused, "lost_heads": resumed.lost}
        if as_json:
            self.stdout.write(json.dumps(facts))
            return
        applied = ", ".join(f"{number} {kind}" for kind, number in resumed.applied.items()) or "nothing"
        for sentence in resumed.refused:
            self.stderr.write(sentence)
        self.stdout.write(f"Applied from the journal: {applied}. You can start the server.")


def _check(name: str, path: Path) -> None:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as copy:
        try:
            (said,) = copy.execute("PRAGMA quick_check").fetchone()
        except sqlite3.DatabaseError as error:
            said = str(error)
    if said != "ok":
        msg = f"{name} in the backup is a damaged database: {said}. Use another backup."
        raise CommandError(msg)


def _put(copy: Path, target: Path) -> None:
    """Replace a database file. The old write-ahead log goes first, or SQLite would replay it into the new file."""
    for suffix in ("-wal", "-shm"):
        target.with_name(target.name + suffix).unlink(missing_ok=True)
    copy.replace(target)
    folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _migrations() -> int:
    """Return the number of pending migrations."""
    waiting = 0
    for alias in ALIASES:
        executor = MigrationExecutor(connections[alias])
        waiting += len(executor.migration_plan(executor.loader.graph.leaf_nodes()))
    return waiting
