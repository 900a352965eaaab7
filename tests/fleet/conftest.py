"""What tests of views need."""

import pytest


@pytest.fixture(autouse=True)
def _plain_static(settings, tmp_path):
    """Name static files as they are: tests collect none."""
    settings.STATIC_ROOT = tmp_path
    plain = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    settings.STORAGES = {**settings.STORAGES, "staticfiles": plain}
