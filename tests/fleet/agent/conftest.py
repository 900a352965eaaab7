"""What the tests of the agent share."""

import pytest

from tests.fleet.agent.adversary import Adversary


@pytest.fixture
def adversary(tmp_path):
    """Return a server in an attacker's hands."""
    made = Adversary(tmp_path / "server")
    yield made
    made.close()
