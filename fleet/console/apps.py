"""The console as a Django application."""

from django.apps import AppConfig


class ConsoleConfig(AppConfig):
    """Server-rendered pages for people."""

    name = "fleet.console"
    label = "console"
