"""The first floor as a Django application."""

from django.apps import AppConfig


class DevicesConfig(AppConfig):
    """Who is out there, where it may talk, how it behaves."""

    name = "devices"
    label = "devices"

    def ready(self) -> None:
        """Say how this floor's facts in the journal come back after a restore."""
        # Here, because models may not be imported before every application is loaded.
        from devices.services import restored  # noqa: PLC0415  because of the line above
        from pki.services import journal  # noqa: PLC0415  because of the line above

        journal.on_resume("enrolled", restored.apply_enrolled)
        journal.on_resume("issued", restored.apply_issued)
