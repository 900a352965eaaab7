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
    """Options of the command."""

    file: Path


class Command(BaseCommand):
    """Back up the databases while the server runs."""

    help = (
        "Copy both SQLite databases into one archive. Keys, blobs and the journal are not included: copy their files."
    )
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the file."""
        parser.add_argument("file", type=Path, help="file of the backup to write")

    def handle(self, *_args: object, **options: Unpack[BackupOptions]) -> None:
        """Copy with SQLite's backup API, so that writers do not have to stop."""
        if any(connection.vendor != "sqlite" for connection in connections.all()):
            msg = "This installation uses PostgreSQL. Back up both databases with pg_dump, and journal/ separately."
            raise CommandError(msg)
        if options["file"].exists():
            msg = f"{options['file']} already exists. Choose another file name."
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
                    # The copy is a single file, without a write-ahead log.
                    copy.execute("PRAGMA journal_mode=DELETE")
            archive.write_archive(options["file"], copies)
        self.stdout.write(
            f"Saved both databases to {options['file']}. Back up journal/ and keys/ separately, on another disk."
        )
