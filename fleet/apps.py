"""The roof as a Django application: it wires the floors' signals to the guard, in one place."""

from django.apps import AppConfig


class FleetConfig(AppConfig):
    """Composition only."""

    name = "fleet"
    label = "fleet"

    def ready(self) -> None:
        """Connect what the lower floors tell to what reacts to it."""
        # Here, because models may not be imported before every application is loaded.
        from devices.signals import incident_opened  # noqa: PLC0415  because of the line above
        from fleet.guard.reactions import incident_opened as react  # noqa: PLC0415  because of the line above

        incident_opened.connect(react, dispatch_uid="guard")
