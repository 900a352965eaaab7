"""What every test gets: both databases allowed, and on PostgreSQL only what touches a database runs."""

import os

import hypothesis
import pytest
from django.conf import settings

from devices.services import presence
from pki.kernel.recent import Recent
from tests.contract import compared
from tests.scheduling import StoryScheduling

# No test is timed: a machine that others use may take seconds for one example, or to make it.
hypothesis.settings.register_profile("untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("untimed")

pytest_plugins = [
    "tests.factories.ground",
    "tests.factories.devices",
    "tests.factories.bundles",
    "tests.factories.people",
    "tests.factories.story",
]


@pytest.hookimpl(trylast=True)
def pytest_configure(config):
    """Compare every answer of the REST API with its document."""
    settings.MIDDLEWARE = ["tests.contract.AnswersAsDocumented", *settings.MIDDLEWARE]


def pytest_sessionfinish(session):
    """Tell the process that started this worker how many answers were compared."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["answers"] = compared["answers"]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node, error):
    """Add what a worker has compared."""
    compared["answers"] += getattr(node, "workeroutput", {}).get("answers", 0)


def pytest_terminal_summary(terminalreporter):
    """Say how many answers of the REST API were compared with its document."""
    terminalreporter.write_line(f"{compared['answers']} answers of the REST API compared with the OpenAPI document")


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
    presence.drop_unwritten()


@pytest.fixture(autouse=True)
def _no_leftover_environment(monkeypatch):
    """Keep the machine's own settings out of tests."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
