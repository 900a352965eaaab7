"""``manage.py bench NAME --json FILE``: measure, compare with the goal, say what it was measured against."""

import json
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from fleet.management.benches import doors, drift, hostile, pki, rollouts, trust

BENCHES = {
    "doors": doors.run,
    "drift": drift.run,
    "hostile": hostile.run,
    "pki": pki.run,
    "rollouts": rollouts.run,
    "trust": trust.run,
}


class Command(BaseCommand):
    """Run one benchmark."""

    help = "Measure a part of the server; rows hold name, value, unit, goal, met, against."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare name and file."""
        parser.add_argument("name", choices=sorted(BENCHES))
        parser.add_argument("--json", type=Path)
        parser.add_argument("--database", choices=rollouts.DATABASES, help="rollouts: only this one")
        parser.add_argument("--devices", type=int, help=f"rollouts: how many (default {rollouts.DEVICES})")
        parser.add_argument("--without-clients", action="store_true", help="rollouts: nobody else uses the server")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Measure and print; write the rows where asked."""
        rows = BENCHES[options["name"]](**_chosen(options))
        for row in rows:
            self.stdout.write(f"{row['name']}: {row['value']} {row['unit']} (goal {row['goal']}, met: {row['met']})")
            self.stdout.write(f"  against {row['against']}")
        if options["json"]:
            options["json"].write_text(json.dumps(rows, indent=1) + "\n")


def _chosen(options: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a benchmark; only that of rollouts has any."""
    chosen: dict[str, Any] = {"devices": options["devices"]} if options["devices"] else {}
    chosen |= {"databases": (options["database"],)} if options["database"] else {}
    chosen |= {"clients": ()} if options["without_clients"] else {}
    if chosen and options["name"] != "rollouts":
        msg = "--database, --devices and --without-clients belong to the benchmark rollouts. Leave them out."
        raise CommandError(msg)
    return chosen
