"""``manage.py restore FILE [--resume]`` and ``manage.py restore --resume``."""

import json
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connections

from fleet.management import archive
from fleet.management.acts import refusals, signer
from pki.kernel import files
from pki.services import freshness


class Command(BaseCommand):
    """Put a backup back, then bring it up to date from the journal."""

    help = "Restore both databases from a backup; --resume applies what the journal knows and they do not."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare file and switch."""
        parser.add_argument("file", type=Path, nargs="?")
        parser.add_argument("--resume", action="store_true")
        parser.add_argument("--json", action="store_true")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Restore, resume, or both."""
        if (settings.FLEET_DIR / "run" / "serve.json").exists():
            msg = "The server runs; stop it first."
            raise CommandError(msg)
        if options["file"] is None and not options["resume"]:
            msg = "Name a backup file, or say --resume."
            raise CommandError(msg)
        if options["file"]:
            self._restore(options["file"])
        if options["resume"]:
            self._resume(as_json=options["json"])
        elif problems := freshness.problems():
            self.stdout.write(f"{' '.join(problems)} Run `manage.py restore --resume` before the server starts.")

    def _restore(self, path: Path) -> None:
        with refusals():
            found = archive.read(path)
        connections.close_all()
        for alias in ("default", "telemetry"):
            target = Path(str(settings.DATABASES[alias]["NAME"]))
            for suffix in ("-wal", "-shm"):
                target.with_name(target.name + suffix).unlink(missing_ok=True)
            files.write_private(target, found[target.name])
        self.stdout.write(f"Both databases are as {path} has them.")

    def _resume(self, *, as_json: bool) -> None:
        with signer():
            resumed = freshness.resume()
        facts = {"applied": resumed.applied, "lost_heads": resumed.lost}
        if as_json:
            self.stdout.write(json.dumps(facts))
        else:
            applied = ", ".join(f"{number} {kind}" for kind, number in resumed.applied.items()) or "nothing"
            self.stdout.write(f"Applied from the journal: {applied}. The server may start.")
