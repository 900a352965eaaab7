"""``manage.py bench NAME --json FILE``: measure, and compare with a goal and a reference."""

import inspect
import json
from pathlib import Path
from typing import TypedDict, Unpack

from django.core.management.base import BaseCommand, CommandError, CommandParser

from fleet.management.benches import drift, growth, hostile, listeners, packing, pki, rollouts, trust

BENCHES = {
    "doors": listeners.run,  # the earlier name of `listeners`
    "drift": drift.run,
    "growth": growth.run,
    "hostile": hostile.run,
    "listeners": listeners.run,
    "packing": packing.run,
    "pki": pki.run,
    "rollouts": rollouts.run,
    "trust": trust.run,
}
#: benchmark argument -> command-line option
_FLAGS = {"devices": "--devices", "databases": "--database", "clients": "--without-clients", "keep": "--keep"}


class BenchOptions(TypedDict):
    """Options of the command."""

    name: str
    json: Path | None
    database: str | None
    devices: int | None
    without_clients: bool
    keep: Path | None


class Command(BaseCommand):
    """Run one benchmark."""

    help = "Run a benchmark of the server. Result rows contain name, value, unit, goal, met and against."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare name and file."""
        parser.add_argument("name", choices=sorted(BENCHES), help="benchmark to run")
        parser.add_argument("--json", type=Path, help="also write the rows to this file")
        parser.add_argument(
            "--database", choices=rollouts.DATABASES, help="rollouts, growth, packing: use only this database"
        )
        parser.add_argument(
            "--devices", type=int, help="rollouts, growth, packing: number of devices in the largest scenario"
        )
        parser.add_argument("--without-clients", action="store_true", help="rollouts: measure without other clients")
        parser.add_argument("--keep", type=Path, help="growth: folder that keeps the filled databases for later runs")

    def handle(self, *_args: object, **options: Unpack[BenchOptions]) -> None:
        """Run the benchmark, print the rows, and write them to a file if requested."""
        rows = BENCHES[options["name"]](**_chosen(options))
        for row in rows:
            self.stdout.write(f"{row['name']}: {row['value']} {row['unit']} (goal {row['goal']}, met: {row['met']})")
            self.stdout.write(f"  against {row['against']}")
        if options["json"]:
            options["json"].write_text(json.dumps(rows, indent=1) + "\n")


def _chosen(options: BenchOptions) -> dict[str, object]:
    """Return the arguments of a benchmark.

    Raises:
        CommandError: the benchmark does not support a given option.
    """
    wanted = {
        "devices": options["devices"],
        "databases": (options["database"],) if options["database"] else None,
        "clients": () if options["without_clients"] else None,
        "keep": options["keep"],
    }
    chosen: dict[str, object] = {name: value for name, value in wanted.items() if value is not None}
    if strange := set(chosen) - set(inspect.signature(BENCHES[options["name"]]).parameters):
        given = ", ".join(sorted(_FLAGS[name] for name in strange))
        msg = f"The benchmark {options['name']} does not support {given}. Remove the option."
        raise CommandError(msg)
    return chosen
