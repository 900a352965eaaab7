"""The Django application of the devices package."""

from django.apps import AppConfig


class DevicesConfig(AppConfig):
    """Device registry, enrolment, telemetry and drift detection."""

    name = "devices"
    label = "devices"

    def ready(self) -> None:
        """Register how this package's journal facts are applied after a restore."""
        # Here, because models may not be imported before every application is loaded.
        from devices.services import restored  # noqa: PLC0415  because of the line above
        from pki.services import journal  # noqa: PLC0415  because of the line above

        journal.on_resume("enrolled", restored.apply_enrolled)
        journal.on_resume("issued", restored.apply_issued)
