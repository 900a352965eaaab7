"""The Django application of the top layer: it connects signals of the lower layers to the guard, in one place."""

from django.apps import AppConfig


class FleetConfig(AppConfig):
    """Connect the layers; no behaviour of its own."""

    name = "fleet"
    label = "fleet"

    def ready(self) -> None:
        """Connect signals of the lower layers to their reactions."""
        # Imported here, because models must not be imported before every application is loaded.
        from devices.signals import incident_opened  # noqa: PLC0415  because of the line above
        from fleet.guard.reactions import incident_opened as react  # noqa: PLC0415  because of the line above

        incident_opened.connect(react, dispatch_uid="guard")
