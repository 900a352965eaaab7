"""The guard as a Django application."""

from django.apps import AppConfig


class GuardConfig(AppConfig):
    """Automatic reactions that involve several layers."""

    name = "fleet.guard"
    label = "guard"
