"""``manage.py release``: what officers and the server exchange by files."""

import json
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from fleet.management.acts import actor, signer
from ota.selectors import bundles as rows
from ota.services import metadata, releases
from ota.trust import policy
from pki.kernel import files
from pki.kernel.actor import Actor


class Command(BaseCommand):
    """Release bundles from the server's own shell."""

    help = "Exchange TUF documents with the release officers."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the acts."""
        parser.add_argument("--domain", default="default")
        acts = parser.add_subparsers(dest="act", required=True)
        online = acts.add_parser("online-keys", help="print the public halves of the online keys, for a root ceremony")
        online.add_argument("--next", nargs="+", choices=policy.ONLINE, help="make the next generation of these first")
        switch = acts.add_parser("switch-keys", help="sign with the next generation of these online keys from now on")
        switch.add_argument("names", nargs="+", choices=policy.ONLINE)
        root = acts.add_parser("root", help="install a signed root, and the first targets with it")
        root.add_argument("--root", type=Path, required=True)
        root.add_argument("--targets", type=Path)
        prepare = acts.add_parser("prepare", help="write what the officers sign")
        prepare.add_argument("bundle")
        prepare.add_argument("--out", type=Path, required=True)
        submit = acts.add_parser("submit", help="bring an officer's signature")
        submit.add_argument("release")
        submit.add_argument("signature", type=Path)
        publish = acts.add_parser("publish", help="publish a release that two officers signed")
        publish.add_argument("release")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Run one act."""
        with signer():
            self.stdout.write(getattr(self, f"_{options['act'].replace('-', '_')}")(actor(options["domain"]), options))

    def _online_keys(self, who: Actor, options: dict[str, Any]) -> str:
        if options["next"]:
            return json.dumps(metadata.next_online_keys(actor=who, names=options["next"]), indent=1)
        return json.dumps(metadata.online_keys(actor=who), indent=1)

    def _switch_keys(self, who: Actor, options: dict[str, Any]) -> str:
        metadata.switch_online_keys(actor=who, names=options["names"])
        return "The next keys sign now. Have a root signed that names only them; the old ones are destroyed with it."

    def _root(self, who: Actor, options: dict[str, Any]) -> str:
        version = metadata.install_root(actor=who, root=options["root"].read_bytes())
        if options["targets"]:
            metadata.install_targets(actor=who, targets=options["targets"].read_bytes())
        return f"Root version {version} is installed."

    def _prepare(self, who: Actor, options: dict[str, Any]) -> str:
        release = releases.prepare(actor=who, bundle=rows.bundle(who.domain, options["bundle"]))
        files.write_public(options["out"], json.dumps(rows.prepared(release)).encode())
        return f"Release {release.public_id}: two officers sign {options['out']} with `python -m fleet.officer sign`."

    def _submit(self, who: Actor, options: dict[str, Any]) -> str:
        release = rows.release(who.domain, options["release"])
        kept = releases.submit(actor=who, release=release, signature=options["signature"].read_bytes())
        return f"The signature of {kept.officer} is kept."

    def _publish(self, who: Actor, options: dict[str, Any]) -> str:
        release = releases.publish(actor=who, release=rows.release(who.domain, options["release"]))
        return f"Release {release.public_id} is published."
