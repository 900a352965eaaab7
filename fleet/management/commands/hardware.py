"""``manage.py hardware register | list``."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from devices import selectors
from devices.services import hardware
from fleet.management.acts import actor, refusals


class Command(BaseCommand):
    """Manage hardware models from the server's own shell."""

    help = "Register kinds of devices and list them."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the acts."""
        parser.add_argument("--domain", default="default")
        acts = parser.add_subparsers(dest="act", required=True)
        acts.add_parser("list", help="list hardware models")
        make = acts.add_parser("register", help="register a hardware model")
        make.add_argument("name")
        make.add_argument("--vendor", required=True, help="the vendor's domain name")
        make.add_argument("--flash-model", type=int, default=0, help="bytes of flash for a model")
        make.add_argument("--arena", type=int, default=0, help="bytes of tensor arena")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Run one act."""
        who = actor(options["domain"])
        with refusals():
            if options["act"] == "register":
                further = {name: options[name] for name in ("vendor", "flash_model", "arena")}
                made = hardware.register(actor=who, name=options["name"], **further)
                self.stdout.write(f"{made.name}  {made.class_id}")
                return
            for row in selectors.hardware_models(who.domain):
                self.stdout.write(f"{row.name}  {row.class_id}  {row.vendor}")
