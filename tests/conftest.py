"""What every test gets: both databases allowed, and on PostgreSQL only what touches a database runs."""

import os

import pytest

from devices.services import presence
from pki.kernel.recent import Recent
from tests.scheduling import StoryScheduling

pytest_plugins = [
    "tests.factories.ground",
    "tests.factories.devices",
    "tests.factories.bundles",
    "tests.factories.people",
    "tests.factories.story",
]


def pytest_collection_modifyitems(config, items):
    """Open both databases to tests that ask for one; on PostgreSQL leave out what needs none."""
    wanted, left = [], []
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        # Tests that commit for real open the database by a fixture of their module, which is called `database`.
        uses_database = item.get_closest_marker("django_db") or fixtures & {"db", "transactional_db", "database"}
        if os.environ.get("MUSTER_TEST_DATABASE") == "postgresql" and not uses_database:
            left.append(item)
        else:
            wanted.append(item)
        for marker in item.iter_markers("django_db"):
            marker.kwargs.setdefault("databases", ["default", "telemetry"])
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = wanted


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Tell the story once."""
    return StoryScheduling(config, log)


@pytest.fixture(autouse=True)
def _nothing_remembered():
    """Let no test see what another one has rolled back."""
    Recent.forget_all()
    presence.forget_all()


@pytest.fixture(autouse=True)
def _no_leftover_environment(monkeypatch):
    """Keep the machine's own settings out of tests."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
