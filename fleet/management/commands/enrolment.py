"""``manage.py enrolment list | approve | deny | tokens | expect``: manage enrolments from the server's shell."""

import csv
import json
import sys
from pathlib import Path
from typing import TypedDict, Unpack

from django.core.management.base import BaseCommand, CommandParser

from devices import selectors
from devices.services import approvals, expected, tokens
from fleet.management.command_support import add_filter_options, command_actor, command_errors, filter_of
from pki.kernel.actor import Actor
from pki.kernel.plurals import number_of


class EnrolmentOptions(TypedDict, total=False):
    """Options of the command; only those of the chosen action are set."""

    domain: str
    act: str
    json: bool
    state: str | None
    id: str
    reason: str
    file: Path
    days: int


class Command(BaseCommand):
    """Manage enrolments."""

    help = "List and decide enrolment requests; create tokens and pre-register devices from a CSV file."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the actions."""
        parser.add_argument("--domain", default="default", help="slug of the trust domain (default: %(default)s)")
        acts = parser.add_subparsers(dest="act", required=True)
        show = acts.add_parser("list", help="list enrolment requests that need, or needed, approval")
        show.add_argument("--json", action="store_true", help="write the result as JSON")
        add_filter_options(show, selectors.EnrolmentRequestFilter)
        for act in ("approve", "deny"):
            decide = acts.add_parser(act, help=f"{act} an enrolment request")
            decide.add_argument("id", help="id of the request, as listed by `list`")
            decide.add_argument("--reason", default="", help="reason for the audit log")
        make = acts.add_parser(
            "tokens", help="create one token per row (columns device, hardware, profile); writes CSV"
        )
        expect = acts.add_parser(
            "expect", help="pre-register one device per row (columns serial, hardware, device, spki_sha256, profile)"
        )
        for subparser in (make, expect):
            subparser.add_argument("file", type=Path, help="CSV with a header line")
        make.add_argument("--days", type=int, default=7, help="validity in days (default: %(default)s)")

    def handle(self, *_args: object, **options: Unpack[EnrolmentOptions]) -> None:
        """Run one action."""
        who = command_actor(options["domain"])
        with command_errors():
            work = {"list": self._list, "tokens": self._tokens, "expect": self._expect}.get(
                options["act"], self._decide
            )
            work(who, options)

    def _list(self, who: Actor, options: EnrolmentOptions) -> None:
        wanted = filter_of(options, selectors.EnrolmentRequestFilter)
        rows = selectors.enrolment_requests(actor=who, wanted=wanted)
        facts = [
            {"id": str(row.public_id), "name": row.name, "hardware": row.hardware_model.name, "proof": row.proof}
            | {"profile": row.profile, "key": row.spki_sha256, "why": row.why, "state": row.state}
            for row in rows[:1000]
        ]
        if options["json"]:
            self.stdout.write(json.dumps(facts))
            return
        for fact in facts:
            self.stdout.write(f"{fact['id']}  {fact['state']:8}  {fact['name']}  {fact['proof']}  {fact['why']}")

    def _decide(self, who: Actor, options: EnrolmentOptions) -> None:
        approved = options["act"] == "approve"
        row = approvals.decide(actor=who, public_id=options["id"], approved=approved, reason=options["reason"])
        self.stdout.write(f"{row.name} is {row.state}. The device receives the decision on its next attempt.")

    def _tokens(self, who: Actor, options: EnrolmentOptions) -> None:
        """Create all tokens or none: an invalid row ends the command before it prints anything."""
        writer = csv.writer(sys.stdout)
        rows = [
            (row["device"], selectors.hardware_model(actor=who, name=row["hardware"]), row.get("profile") or "device")
            for row in _rows(options["file"])
        ]
        writer.writerow(["device", "token"])
        for name, model, profile in rows:
            _, secret = tokens.create(
                actor=who, hardware_model=model, device_name=name, days=options["days"], profile=profile
            )
            writer.writerow([name, secret])

    def _expect(self, who: Actor, options: EnrolmentOptions) -> None:
        rows = _rows(options["file"])
        for row in rows:
            expected.preregister_device(
                actor=who,
                serial=row["serial"],
                hardware_model=selectors.hardware_model(actor=who, name=row["hardware"]),
                device_name=row.get("device") or row["serial"],
                spki_sha256=row.get("spki_sha256") or "",
                profile=row.get("profile") or "device",
            )
        self.stdout.write(f"Pre-registered {number_of(len(rows), 'device')}.")


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
