"""Django application of operators."""

from django.apps import AppConfig


class OperatorsConfig(AppConfig):
    """Configuration of operators: their roles, API tokens and sign-in."""

    name = "fleet.operators"
    label = "operators"
