"""People as a Django application."""

from django.apps import AppConfig


class OperatorsConfig(AppConfig):
    """Operators, their roles, tokens and sign-in."""

    name = "fleet.operators"
    label = "operators"
