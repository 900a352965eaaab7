"""``manage.py release``: exchange files with the release officers."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

from django.core.management.base import BaseCommand, CommandParser

from devices import selectors as devices
from fleet.management.command_support import add_filter_options, command_actor, filter_of, provide_signer
from ota.models import Statement
from ota.selectors import bundles as bundle_rows
from ota.selectors import statements as rows
from ota.selectors.roles import role_states
from ota.services import metadata, releases, statements, upkeep
from ota.trust import policy, prepared
from ota.trust.standing import RoleStanding
from pki.kernel import files
from pki.kernel.actor import Actor

if TYPE_CHECKING:
    from argparse import _SubParsersAction

MOST_LISTED = 200


class ReleaseOptions(TypedDict, total=False):
    """Options of the command; only those of the chosen action are set."""

    domain: str
    act: str
    next: list[str] | None
    names: list[str]
    root: Path
    targets: Path | None
    bundle: str
    raise_floor: bool
    release: str
    reason: str
    component: str
    hardware: str
    counter: int
    bits: int | None
    out: Path
    signature: list[Path]
    statement: str
    json: bool


class Command(BaseCommand):
    """Release bundles from the server's shell."""

    help = "Exchange TUF metadata and signing requests with the release officers."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the actions."""
        parser.add_argument("--domain", default="default", help="slug of the trust domain (default: %(default)s)")
        acts = parser.add_subparsers(dest="act", required=True)
        online = acts.add_parser("online-keys", help="print the public keys of the online roles, for a root ceremony")
        online.add_argument(
            "--next", nargs="+", choices=policy.ONLINE, help="create the next generation of these keys first"
        )
        switch = acts.add_parser("switch-keys", help="switch to the next generation of these online keys")
        switch.add_argument("names", nargs="+", choices=policy.ONLINE, help="online roles")
        root = acts.add_parser("root", help="install a signed TUF root, with the first targets")
        root.add_argument("--root", type=Path, required=True, help="file of the signed root")
        root.add_argument("--targets", type=Path, help="file of the first signed targets")
        prepare = acts.add_parser("prepare", help="write the signing request for the release of a bundle")
        prepare.add_argument("bundle", help="id of the bundle")
        prepare.add_argument(
            "--raise-floor",
            action="store_true",
            help="raise the floor: devices reject lower counters after the release",
        )
        withdraw = acts.add_parser("withdraw", help="withdraw a release, and write its signing request")
        withdraw.add_argument("release", help="id of the release")
        withdraw.add_argument("--reason", required=True, help="reason that devices and people see")
        floor = acts.add_parser("floor", help="write the signing request for a higher counter floor")
        floor.add_argument("--component", required=True, help="component, for example app")
        floor.add_argument("--hardware", required=True, help="name of the hardware model")
        floor.add_argument("--counter", type=int, required=True, help="lowest security counter that may be installed")
        renew = acts.add_parser("renew", help="write the signing request for a one-year renewal")
        renew.add_argument("--bits", type=int, help="new number of hash bins: 2 ** BITS")
        for subparser in (prepare, withdraw, floor, renew):
            subparser.add_argument("--out", type=Path, required=True, help="file for the signing request")
        submit = acts.add_parser("submit", help="submit officers' signatures")
        submit.add_argument("signature", type=Path, nargs="+", help="file that `muster-sign sign` wrote")
        publish = acts.add_parser("publish", help="publish a signing request that has enough signatures")
        publish.add_argument("statement", help="id of the signing request, as listed by `list`")
        _for_readers(acts)

    def handle(self, *_args: object, **options: Unpack[ReleaseOptions]) -> None:
        """Run one action."""
        with provide_signer():
            self.stdout.write(
                getattr(self, f"_{options['act'].replace('-', '_')}")(command_actor(options["domain"]), options)
            )

    def _online_keys(self, who: Actor, options: ReleaseOptions) -> str:
        if options["next"]:
            return json.dumps(metadata.next_online_keys(actor=who, names=options["next"]), indent=1)
        return json.dumps(metadata.online_keys(actor=who), indent=1)

    def _switch_keys(self, who: Actor, options: ReleaseOptions) -> str:
        metadata.switch_online_keys(actor=who, names=options["names"])
        return (
            "The next keys are active. Have a TUF root signed that lists only these keys; "
            "its installation destroys the old keys."
        )

    def _root(self, who: Actor, options: ReleaseOptions) -> str:
        version = metadata.install_root(actor=who, root=options["root"].read_bytes())
        if options["targets"]:
            metadata.install_targets(actor=who, targets=options["targets"].read_bytes())
        return f"Installed root version {version}."

    def _prepare(self, who: Actor, options: ReleaseOptions) -> str:
        bundle = bundle_rows.get_bundle(actor=who, public_id=options["bundle"])
        release = releases.prepare_release(actor=who, bundle=bundle, raise_floor=options["raise_floor"])
        return self._write_request(release.statement, options["out"])

    def _withdraw(self, who: Actor, options: ReleaseOptions) -> str:
        release = bundle_rows.get_release(actor=who, public_id=options["release"])
        done = releases.withdraw(actor=who, release=release, reason=options["reason"])
        if done.withdrawal is None:
            return "No device is offered this bundle. It was never released, so no signature is needed."
        return f"The release is no longer offered. {self._write_request(done.withdrawal, options['out'])}"

    def _floor(self, who: Actor, options: ReleaseOptions) -> str:
        hardware = devices.hardware_model(actor=who, name=options["hardware"])
        component, counter = options["component"], options["counter"]
        statement = upkeep.raise_floor(actor=who, hardware=hardware, component=component, counter=counter)
        return self._write_request(statement, options["out"])

    def _renew(self, who: Actor, options: ReleaseOptions) -> str:
        return self._write_request(upkeep.renew_targets(actor=who, bit_length=options["bits"]), options["out"])

    def _write_request(self, statement: Statement | None, out: Path) -> str:
        if statement is None or statement.state != Statement.State.PREPARED:
            return "The signed metadata already lists the bundle: it is published."
        files.write_public(out, json.dumps(rows.prepared_documents(statement)).encode())
        return (
            f"Signing request {statement.public_id}: two officers must sign {out} with `python -m fleet.officer sign`."
        )

    def _submit(self, who: Actor, options: ReleaseOptions) -> str:
        messages = []
        for path in options["signature"]:
            data = path.read_bytes()
            statement = rows.get_statement(actor=who, public_id=prepared.parse_signature(data).statement)
            kept = statements.submit(actor=who, statement=statement, signature=data)
            messages.append(f"Saved the signature of {kept.officer}.")
        return "\n".join(messages)

    def _publish(self, who: Actor, options: ReleaseOptions) -> str:
        done = statements.publish(actor=who, statement=rows.get_statement(actor=who, public_id=options["statement"]))
        return f"Published: {done.summary}."

    def _status(self, who: Actor, options: ReleaseOptions) -> str:
        standings = role_states(actor=who)
        if options["json"]:
            return json.dumps([standing.to_dict() for standing in standings], indent=1)
        lines = [_standing(standing) for standing in standings]
        return "\n".join(lines) or "There is no TUF root yet. The officers create one (docs/how-to/releases.md)."

    def _list(self, who: Actor, options: ReleaseOptions) -> str:
        wanted = filter_of(options, rows.StatementFilter)
        answers = [
            _statement_row(statement) for statement in rows.list_statements(actor=who, wanted=wanted)[:MOST_LISTED]
        ]
        if options["json"]:
            return json.dumps(answers, indent=1)
        lines = [
            f"{answer['id']}  {answer['state']:9}  {answer['summary']}  ({', '.join(answer['signed_by'])})"
            for answer in answers
        ]
        return "\n".join(lines) or "No signing requests yet."


class _StatementRow(TypedDict):
    id: str
    kind: str
    state: str
    summary: str
    signed_by: list[str]


def _for_readers(acts: "_SubParsersAction[CommandParser]") -> None:
    """Declare the actions that show the current state."""
    status = acts.add_parser("status", help="show the signers and the expiry of each role")
    listed = acts.add_parser("list", help="list signing requests and their signatures")
    for subparser in (status, listed):
        subparser.add_argument("--json", action="store_true", help="write the result as JSON")
    add_filter_options(listed, rows.StatementFilter)


def _standing(standing: RoleStanding) -> str:
    line = (
        f"{standing.role:9}  {standing.level:4}  ends {standing.expires:%Y-%m-%d %H:%M}  "
        f"{standing.threshold} of {', '.join(standing.holders)}"
    )
    return f"{line}\n           {standing.advice}" if standing.advice else line


def _statement_row(statement: Statement) -> _StatementRow:
    return {
        "id": str(statement.public_id),
        "kind": statement.kind,
        "state": statement.state,
        "summary": statement.summary,
        "signed_by": sorted(signature.officer for signature in statement.signatures.all()),
    }
