"""The Django application of the ota package."""

from django.apps import AppConfig


class OtaConfig(AppConfig):
    """What should run where."""

    name = "ota"
    label = "ota"

    def ready(self) -> None:
        """Register how this package's journal facts are applied after a restore."""
        # Here, because models may not be imported before every application is loaded.
        from ota.services import releases  # noqa: PLC0415  because of the line above
        from pki.services import journal  # noqa: PLC0415  because of the line above

        journal.on_resume("targets-published", releases.adopt_published)
