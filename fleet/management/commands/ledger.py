"""``manage.py ledger verify | head``."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from fleet.management.acts import actor, signer
from pki import selectors
from pki.services import ledger_check


class Command(BaseCommand):
    """Verify the ledger of a domain."""

    help = "Recompute the ledger's tree and compare it with every signed head, inside and outside the database."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the acts."""
        parser.add_argument("--domain", default="default")
        parser.add_argument("act", choices=["verify", "head"])
        parser.add_argument("--json", action="store_true")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Run one act; exit 1 when something is wrong."""
        if options["act"] == "head":
            head = selectors.ledger_head(options["domain"])
            self.stdout.write(
                f"epoch {head.epoch}, {head.size} entries, root {head.root_hash}" if head else "no head yet"
            )
            return
        with signer():
            report = ledger_check.verify(actor=actor(options["domain"]))
        if options["json"]:
            facts: dict[str, object] = {"ok": report.ok, "entries": report.entries, "heads": report.heads}
            facts |= {"waiting": report.waiting, "restores": report.restores, "problems": report.problems}
            self.stdout.write(json.dumps(facts))
        else:
            self.stdout.write(
                f"{report.entries} entries, {report.heads} published heads, {report.waiting} entries not yet in order"
            )
            for sentence in report.restores:
                self.stdout.write(sentence)
        if not report.ok:
            raise CommandError(" ".join(report.problems))
