"""Django application of the console."""

from django.apps import AppConfig


class ConsoleConfig(AppConfig):
    """Configuration of the console: server-rendered pages for operators."""

    name = "fleet.console"
    label = "console"
