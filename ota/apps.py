"""The second floor as a Django application."""

from django.apps import AppConfig


class OtaConfig(AppConfig):
    """What should run where."""

    name = "ota"
    label = "ota"

    def ready(self) -> None:
        """Say how this floor's facts in the journal come back after a restore."""
        # Here, because models may not be imported before every application is loaded.
        from ota.services import releases  # noqa: PLC0415  because of the line above
        from pki.services import journal  # noqa: PLC0415  because of the line above

        journal.on_resume("targets-published", releases.adopt_published)
