"""``manage.py hardware register | runtime | list``."""

from pathlib import Path
from typing import TypedDict, Unpack

from django.core.management.base import BaseCommand, CommandError, CommandParser

from devices import selectors
from devices.services import hardware
from fleet.management.command_support import command_actor, command_errors
from pki.kernel import strict_json
from pki.kernel.actor import Actor
from pki.kernel.errors import InvalidError

MAX_PROFILE = 1 << 20


class HardwareOptions(TypedDict, total=False):
    """Options of the command; only those of the chosen action are set."""

    domain: str
    act: str
    name: str
    profile: Path
    vendor: str
    flash_model: int
    arena: int


class Command(BaseCommand):
    """Manage hardware models from the server's shell."""

    help = "Register hardware models and list them."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the actions."""
        parser.add_argument("--domain", default="default", help="slug of the trust domain (default: %(default)s)")
        acts = parser.add_subparsers(dest="act", required=True)
        acts.add_parser("list", help="list hardware models")
        able = acts.add_parser("runtime", help="set which ML models the firmware of a hardware model can run")
        able.add_argument("name", help="name of the hardware model")
        able.add_argument("profile", type=Path, help="JSON file, see docs/reference/models.md; {} means unknown")
        make = acts.add_parser("register", help="register a hardware model")
        make.add_argument("name", help="name of the hardware model")
        make.add_argument("--vendor", required=True, help="domain name of the vendor")
        make.add_argument("--flash-model", type=int, default=0, help="flash for a model, in bytes")
        make.add_argument("--arena", type=int, default=0, help="tensor arena, in bytes")

    def handle(self, *_args: object, **options: Unpack[HardwareOptions]) -> None:
        """Run one action."""
        who = command_actor(options["domain"])
        with command_errors():
            if options["act"] == "register":
                vendor, flash, arena = options["vendor"], options["flash_model"], options["arena"]
                model = hardware.register_model(
                    actor=who, name=options["name"], vendor=vendor, flash_model=flash, arena=arena
                )
                self.stdout.write(f"{model.name}  {model.class_id}")
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
        msg = f"{file} is not valid JSON: {error}"
        raise CommandError(msg) from error
    model = selectors.hardware_model(actor=who, name=name)
    changed = hardware.set_runtime_profile(actor=who, model=model, profile=profile)
    told = ", ".join(sorted(changed.runtime)) or "nothing"
    return f"{changed.name}: runtime set to {told}."
