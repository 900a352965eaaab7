"""``manage.py upgrade``: bring databases, static files and the first trust domain up to date."""

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand

from fleet.management.command_support import command_actor
from pki.services import domains


class Command(BaseCommand):
    """Run this command after each installation of a new version. Running it again changes nothing."""

    help = "Bring databases, static files and the first trust domain up to date."
    requires_system_checks = []

    def handle(self, *_args: object, **_options: object) -> None:
        """Migrate both databases, collect static files, create the trust domain `default`."""
        # Telemetry first: a migration of the main database moves rows into tables of the telemetry database.
        for alias in ("telemetry", "default"):
            call_command("migrate", database=alias, interactive=False, verbosity=0, skip_checks=True)
        call_command("collectstatic", interactive=False, verbosity=0, skip_checks=True)
        domains.create(
            actor=command_actor("default"), slug="default", name="Default", host_names=list(settings.FLEET_HOST_NAMES)
        )
        self.stdout.write("Databases and static files are up to date.")
