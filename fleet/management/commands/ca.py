"""``manage.py ca csr | import | link | campaign | switch | retire | show``: manage the CAs of a trust domain."""

import base64
from pathlib import Path
from typing import TypedDict, Unpack

from django.core.management.base import BaseCommand, CommandParser

from devices import selectors as devices
from devices.services import rollover
from fleet.management.command_support import command_actor, provide_signer
from ota.services import campaigns
from pki import selectors
from pki.kernel import files
from pki.kernel.actor import Actor
from pki.services import authorities


class CaOptions(TypedDict, total=False):
    """Options of the command; only those of the chosen action are set."""

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
    """Manage the CA hierarchy of a trust domain."""

    help = "Manage CAs: certificate requests, import, rotation of roots, and campaigns that change trusted roots."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the actions."""
        parser.add_argument("--domain", default="default", help="slug of the trust domain (default: %(default)s)")
        acts = parser.add_subparsers(dest="act", required=True)
        csr = acts.add_parser("csr", help="create the issuing CA's key in the signer and write its certificate request")
        csr.add_argument("--name", required=True, help="common name of the CA")
        csr.add_argument("--out", type=Path, required=True, help="file for the certificate request")
        load = acts.add_parser("import", help="import the certificate that the offline root CA issued")
        load.add_argument("--certificate", type=Path, required=True, help="PEM file of the issuing CA")
        load.add_argument("--root", type=Path, required=True, help="PEM file of the root CA")
        link = acts.add_parser("link", help="import a cross-certificate between two roots (`muster-sign ca-cross`)")
        link.add_argument("--certificate", type=Path, required=True, help="PEM file of the cross-certificate")
        for name, words in (("switch", "issue with this CA from now on"), ("retire", "never issue with this CA again")):
            act = acts.add_parser(name, help=words)
            act.add_argument("key_id", help="key id of the CA, as listed by `show`")
        campaign = acts.add_parser(
            "campaign", help="write a bundle that sets which roots, server and settings devices trust"
        )
        campaign.add_argument("--out", type=Path, required=True, help="folder for bundle.json and config.json")
        campaign.add_argument(
            "--wipe", action="append", default=[], help="name of a device that erases itself; may be repeated"
        )
        campaign.add_argument(
            "--server", help="https://host:port of the new server for the devices; empty: the factory setting"
        )
        campaign.add_argument("--time-source", action="append", help="host or host:port of a time source for devices")
        campaign.add_argument("--policy-key", action="append", help="Ed25519 public key (hex) for verifying policies")
        campaign.add_argument("--secret", action="append", help="NAME=FILE, already encrypted for devices")
        campaign.add_argument(
            "--drop", action="append", default=[], help="fingerprint of a root to remove from the trusted ones"
        )
        acts.add_parser("show", help="list the CA certificates")

    def handle(self, *_args: object, **options: Unpack[CaOptions]) -> None:
        """Run one action."""
        who = command_actor(options["domain"])
        if options["act"] == "show":
            for row in selectors.list_authorities(actor=who):
                self.stdout.write(
                    f"{row.kind:8} {row.state:8} until {row.not_after:%Y-%m-%d}  {row.key_id}  {row.name}"
                )
            return
        with provide_signer():
            if options["act"] == "csr":
                files.write_public(options["out"], authorities.issuing_csr(actor=who, name=options["name"]))
                self.stdout.write(
                    f"Sign {options['out']} with the offline root CA: `python -m fleet.officer ca-issue`."
                )
            elif options["act"] == "link":
                authorities.install_link(actor=who, certificate=options["certificate"].read_bytes())
                self.stdout.write(
                    "EST cacerts now serves the cross-certificate. The listeners serve it after their next restart."
                )
            elif options["act"] == "switch":
                rollover.switch_issuing_ca(actor=who, key_id=options["key_id"])
                self.stdout.write(
                    "This CA now issues all new certificates. The listeners get theirs at their next restart."
                )
            elif options["act"] == "campaign":
                self.stdout.write(_campaign(who, options))
            elif options["act"] == "retire":
                authorities.retire(actor=who, key_id=options["key_id"])
                self.stdout.write("This CA no longer issues certificates. Existing certificates stay valid.")
            else:
                certificate, root = options["certificate"].read_bytes(), options["root"].read_bytes()
                installed = authorities.install(actor=who, certificate=certificate, root=root)
                self.stdout.write(f"Installed {installed.name}.")


def _further(options: CaOptions) -> dict[str, object]:
    """Return what a campaign changes besides roots and address; a single empty value clears an option."""
    settings_by_name: dict[str, object] = {}
    for name, given in (("time_sources", options["time_source"]), ("policy_keys", options["policy_key"])):
        if given is not None:
            settings_by_name[name] = [one for one in given if one]
    if options["secret"] is not None:
        pairs = [one.partition("=") for one in options["secret"] if one]
        settings_by_name["secrets"] = {
            name: base64.b64encode(Path(file).read_bytes()).decode() for name, _, file in pairs
        }
    return settings_by_name


def _campaign(who: Actor, options: CaOptions) -> str:
    wiped = [devices.device_by_name(actor=who, name=name) for name in options["wipe"]]
    document = campaigns.write_anchors_bundle(
        actor=who,
        drop=frozenset(options["drop"]),
        wipe=wiped,
        server=options["server"],
        further=_further(options),
    )
    folder = options["out"]
    folder.mkdir(parents=True, exist_ok=True)
    files.write_public(folder / "bundle.json", document.manifest)
    files.write_public(folder / campaigns.FILE, document.config)
    return (
        f"Next: upload {folder}/bundle.json with {campaigns.FILE}, have two officers sign the release, and roll it out."
    )
