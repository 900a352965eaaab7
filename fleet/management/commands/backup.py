"""``manage.py backup FILE``: a consistent copy of both databases, with digests."""

import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import TypedDict, Unpack

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connections

from fleet.management import archive


class BackupOptions(TypedDict):
    """What was asked for."""

    file: Path


class Command(BaseCommand):
    """Back up while the server runs."""

    help = "Copy both SQLite databases into one archive; keys, blobs and the journal are files of their own."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the file."""
        parser.add_argument("file", type=Path)

    def handle(self, *_args: object, **options: Unpack[BackupOptions]) -> None:
        """Copy by SQLite's own backup interface, so that writers need not stop."""
        if any(one.vendor != "sqlite" for one in connections.all()):
            msg = "This set-up runs on PostgreSQL: use pg_dump for both databases, and keep journal/ apart from them."
            raise CommandError(msg)
        if options["file"].exists():
            msg = f"{options['file']} exists already and is not overwritten."
            raise CommandError(msg)
        with tempfile.TemporaryDirectory(dir=settings.FLEET_DIR) as folder:
            copies = []
            for alias in ("default", "telemetry"):
                source = Path(str(settings.DATABASES[alias]["NAME"]))
                copies.append(Path(folder) / source.name)
                with (
                    closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True)) as live,
                    closing(sqlite3.connect(copies[-1])) as copy,
                ):
                    live.backup(copy)
                    # The copy is one file: no write-ahead log beside it.
                    copy.execute("PRAGMA journal_mode=DELETE")
            archive.write(options["file"], copies)
        self.stdout.write(f"Both databases are in {options['file']}. Keep journal/ and keys/ on another disk, too.")
