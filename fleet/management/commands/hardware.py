"""``manage.py hardware register | runtime | list``."""

from pathlib import Path
from typing import TypedDict, Unpack

from django.core.management.base import BaseCommand, CommandError, CommandParser

from devices import selectors
from devices.services import hardware
from fleet.management.acts import actor, refusals
from pki.kernel import strict_json
from pki.kernel.actor import Actor
from pki.kernel.errors import InvalidError

MAX_PROFILE = 1 << 20


class HardwareOptions(TypedDict, total=False):
    """What was asked for; of each act only its own are there."""

    domain: str
    act: str
    name: str
    profile: Path
    vendor: str
    flash_model: int
    arena: int


class Command(BaseCommand):
    """Manage hardware models from the server's own shell."""

    help = "Register kinds of devices and list them."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the acts."""
        parser.add_argument("--domain", default="default")
        acts = parser.add_subparsers(dest="act", required=True)
        acts.add_parser("list", help="list hardware models")
        able = acts.add_parser("runtime", help="say what the firmware of a hardware model can run of models")
        able.add_argument("name")
        able.add_argument("profile", type=Path, help="JSON file, see docs/reference/models.md; {} says nothing")
        make = acts.add_parser("register", help="register a hardware model")
        make.add_argument("name")
        make.add_argument("--vendor", required=True, help="the vendor's domain name")
        make.add_argument("--flash-model", type=int, default=0, help="bytes of flash for a model")
        make.add_argument("--arena", type=int, default=0, help="bytes of tensor arena")

    def handle(self, *_args: object, **options: Unpack[HardwareOptions]) -> None:
        """Run one act."""
        who = actor(options["domain"])
        with refusals():
            if options["act"] == "register":
                vendor, flash, arena = options["vendor"], options["flash_model"], options["arena"]
                made = hardware.register(actor=who, name=options["name"], vendor=vendor, flash_model=flash, arena=arena)
                self.stdout.write(f"{made.name}  {made.class_id}")
                return
            if options["act"] == "runtime":
                self.stdout.write(_described(who, options["name"], options["profile"]))
                return
            for row in selectors.hardware_models(actor=who):
                self.stdout.write(f"{row.name}  {row.class_id}  {row.vendor}")


def _described(who: Actor, name: str, file: Path) -> str:
    try:
        profile = strict_json.read_json(file.read_bytes(), max_bytes=MAX_PROFILE)
    except (OSError, InvalidError) as error:
        msg = f"{file} cannot be read as JSON: {error}"
        raise CommandError(msg) from error
    model = selectors.hardware_model(actor=who, name=name)
    made = hardware.describe(actor=who, model=model, profile=profile)
    told = ", ".join(sorted(made.runtime)) or "nothing"
    return f"{made.name}: its firmware's runtime is described by {told}."
