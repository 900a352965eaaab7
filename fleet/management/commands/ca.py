"""``manage.py ca csr | import | link | campaign | switch | retire | show``: between server and offline roots."""

import base64
from pathlib import Path
from typing import TypedDict, Unpack

from django.core.management.base import BaseCommand, CommandParser

from devices import selectors as devices
from devices.services import rollover
from fleet.management.acts import actor, signer
from ota.services import campaigns
from pki import selectors
from pki.kernel import files
from pki.kernel.actor import Actor
from pki.services import authorities


class CaOptions(TypedDict, total=False):
    """What was asked for; of each act only its own are there."""

    domain: str
    act: str
    name: str
    out: Path
    certificate: Path
    root: Path
    key_id: str
    wipe: list[str]
    server: str | None
    time_source: list[str] | None
    policy_key: list[str] | None
    secret: list[str] | None
    drop: list[str]


class Command(BaseCommand):
    """Manage the CA tree of a domain."""

    help = "Make the issuing CA's request, import its certificate, show the tree."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the acts."""
        parser.add_argument("--domain", default="default")
        acts = parser.add_subparsers(dest="act", required=True)
        csr = acts.add_parser("csr", help="make the issuing CA's key in the signer and write its request")
        csr.add_argument("--name", required=True)
        csr.add_argument("--out", type=Path, required=True)
        load = acts.add_parser("import", help="import the certificate that the offline root issued")
        load.add_argument("--certificate", type=Path, required=True)
        load.add_argument("--root", type=Path, required=True)
        link = acts.add_parser("link", help="import a link between two roots (`muster-sign ca-cross`)")
        link.add_argument("--certificate", type=Path, required=True)
        for name, words in (("switch", "issue under another CA from now on"), ("retire", "issue no more under a CA")):
            act = acts.add_parser(name, help=words)
            act.add_argument("key_id", help="as `show` lists it")
        campaign = acts.add_parser("campaign", help="write the bundle that makes devices trust this domain's roots")
        campaign.add_argument("--out", type=Path, required=True, help="folder for bundle.json and config.json")
        campaign.add_argument("--wipe", action="append", default=[], help="name of a device that shall erase itself")
        campaign.add_argument(
            "--server", help="https://host:port to which devices shall move; empty: as the factory said"
        )
        campaign.add_argument("--time-source", action="append", help="host or host:port that sets devices' clocks")
        campaign.add_argument("--policy-key", action="append", help="Ed25519 public key (hex) that may sign policies")
        campaign.add_argument("--secret", action="append", help="NAME=FILE, sealed for devices already")
        campaign.add_argument("--drop", action="append", default=[], help="fingerprint of a root to trust no more")
        acts.add_parser("show", help="list the CA certificates")

    def handle(self, *_args: object, **options: Unpack[CaOptions]) -> None:
        """Run one act."""
        who = actor(options["domain"])
        if options["act"] == "show":
            for row in selectors.authorities(actor=who):
                self.stdout.write(
                    f"{row.kind:8} {row.state:8} until {row.not_after:%Y-%m-%d}  {row.key_id}  {row.name}"
                )
            return
        with signer():
            if options["act"] == "csr":
                files.write_public(options["out"], authorities.csr(actor=who, name=options["name"]))
                self.stdout.write(f"Carry {options['out']} to the offline root: `python -m fleet.officer ca-issue`.")
            elif options["act"] == "link":
                authorities.link(actor=who, certificate=options["certificate"].read_bytes())
                self.stdout.write("The link is served by cacerts now, and by the doors after their next start.")
            elif options["act"] == "switch":
                rollover.switch(actor=who, key_id=options["key_id"])
                self.stdout.write("New certificates come from this CA now; the doors take theirs at their next start.")
            elif options["act"] == "campaign":
                self.stdout.write(_campaign(who, options))
            elif options["act"] == "retire":
                authorities.retire(actor=who, key_id=options["key_id"])
                self.stdout.write("This CA issues no more; what it has issued stays valid.")
            else:
                certificate, root = options["certificate"].read_bytes(), options["root"].read_bytes()
                installed = authorities.install(actor=who, certificate=certificate, root=root)
                self.stdout.write(f"Installed {installed.name}.")


def _further(options: CaOptions) -> dict[str, object]:
    """Return what a campaign sets beside roots and address; one empty word sets none of a kind."""
    found: dict[str, object] = {}
    for name, given in (("time_sources", options["time_source"]), ("policy_keys", options["policy_key"])):
        if given is not None:
            found[name] = [one for one in given if one]
    if options["secret"] is not None:
        pairs = [one.partition("=") for one in options["secret"] if one]
        found["secrets"] = {name: base64.b64encode(Path(file).read_bytes()).decode() for name, _, file in pairs}
    return found


def _campaign(who: Actor, options: CaOptions) -> str:
    wiped = [devices.device_by_name(actor=who, name=name) for name in options["wipe"]]
    made = campaigns.anchors(
        actor=who,
        drop=frozenset(options["drop"]),
        wipe=wiped,
        server=options["server"],
        further=_further(options),
    )
    folder = options["out"]
    folder.mkdir(parents=True, exist_ok=True)
    files.write_public(folder / "bundle.json", made.manifest)
    files.write_public(folder / campaigns.FILE, made.config)
    return f"Upload {folder}/bundle.json with {campaigns.FILE}, let two officers sign the release, and roll it out."
