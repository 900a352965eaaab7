"""``manage.py work``: run the periodic jobs in this process."""

import signal

from django.core.management.base import BaseCommand

from fleet.jobs.runner import Runner
from pki.kernel import handover


class Command(BaseCommand):
    """Run jobs until stopped."""

    help = "Run the periodic jobs (audit log, metadata, rollouts, drift, recovery)."
    requires_system_checks = []

    def handle(self, *_args: object, **_options: object) -> None:
        """Run until SIGTERM or SIGINT."""
        handover.forget_secrets(handover.PASSPHRASE, handover.DATABASE)  # the settings have been read
        runner = Runner()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: runner.stopped.set())
        runner.run()
