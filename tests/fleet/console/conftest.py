"""Clients of signed-in people."""

import pytest

from tests.factories.people import signed_in


@pytest.fixture
def client(domain):
    """Return the client of somebody who may do what the console offers."""
    return signed_in(domain, f"eva_{domain.slug}", ["operator", "security-officer", "release-officer"])


@pytest.fixture
def viewer(domain):
    """Return the client of somebody who may only look."""
    return signed_in(domain, f"vic_{domain.slug}", ["viewer"])
