"""``manage.py ledger verify | head | export``."""

import json
from pathlib import Path
from typing import TypedDict, Unpack

from django.core.management.base import BaseCommand, CommandError, CommandParser

from devices import selectors as devices
from fleet.management.command_support import command_actor, provide_signer
from pki import selectors
from pki.kernel.plurals import number_of
from pki.services import ledger_check, ledger_proofs


class LedgerOptions(TypedDict):
    """Options of the command."""

    domain: str
    act: str
    out: Path | None
    json: bool


class Command(BaseCommand):
    """Verify the audit log of a trust domain."""

    help = "Verify the audit log against every signed tree head, print its newest head, or export its entries."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the actions."""
        parser.add_argument("--domain", default="default", help="slug of the trust domain (default: %(default)s)")
        parser.add_argument(
            "act",
            choices=["verify", "head", "export"],
            help="verify the audit log, print its newest tree head, or export its entries",
        )
        parser.add_argument("--out", type=Path, help="file for the export; verify it with pki/ledger/verifier.py")
        parser.add_argument("--json", action="store_true", help="verify: write the result as JSON")

    def handle(self, *_args: object, **options: Unpack[LedgerOptions]) -> None:
        """Run one action; exit with 1 if verification fails."""
        if options["act"] == "head":
            head = selectors.ledger_head(actor=command_actor(options["domain"]))
            size = number_of(head.size, "entry", "entries") if head else ""
            self.stdout.write(f"epoch {head.epoch}, {size}, root {head.root_hash}" if head else "no head yet")
            return
        if options["act"] == "export":
            self._export(options)
            return
        with provide_signer():
            seen = devices.reported_heads(actor=command_actor(options["domain"]))
            report = ledger_check.verify_ledger(
                actor=command_actor(options["domain"]), witnesses=seen, progress=self._progress
            )
        if options["json"]:
            facts: dict[str, object] = {"ok": report.ok, "entries": report.entries, "heads": report.heads}
            facts |= {"witnesses": report.witnesses, "waiting": report.waiting}
            facts |= {"restores": report.restores, "problems": report.problems}
            self.stdout.write(json.dumps(facts))
        else:
            self.stdout.write(
                f"{number_of(report.entries, 'entry', 'entries')}, {number_of(report.heads, 'published head')}, "
                f"{number_of(report.witnesses, 'tree head')} remembered by devices; "
                f"{number_of(report.waiting, 'entry', 'entries')} without an index yet"
            )
            for sentence in report.restores:
                self.stdout.write(sentence)
        if not report.ok:
            raise CommandError(" ".join(report.problems))

    def _progress(self, done: int, there: int) -> None:
        """Show the progress on a terminal; the next output overwrites it."""
        if self.stderr.isatty():
            self.stderr.write(f"{done:,} of {there:,} entries", style_func=str, ending="\r")

    def _export(self, options: LedgerOptions) -> None:
        out = options["out"]
        if out is None:
            msg = "No output file. Give --out FILE."
            raise CommandError(msg)
        with provide_signer(), out.open("wb") as file:
            for line in ledger_proofs.export_ledger(actor=command_actor(options["domain"])):
                file.write(line)
        self.stdout.write(f"Verify it on any machine: python pki/ledger/verifier.py {out}")
