"""Periodic jobs as a Django application."""

from django.apps import AppConfig


class JobsConfig(AppConfig):
    """The periodic jobs."""

    name = "fleet.jobs"
    label = "jobs"
