"""The guard as a Django application."""

from django.apps import AppConfig


class GuardConfig(AppConfig):
    """Reactions across floors."""

    name = "fleet.guard"
    label = "guard"
