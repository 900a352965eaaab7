"""Periodic jobs as a Django application."""

from django.apps import AppConfig


class JobsConfig(AppConfig):
    """What runs by itself."""

    name = "fleet.jobs"
    label = "jobs"
