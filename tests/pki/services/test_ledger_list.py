"""The audit log by action: one action, or all under a prefix, newest first."""

import pytest

from pki.selectors import LedgerFilter, ledger_entries
from pki.services import ledger
from tests.factories.ground import system

pytestmark = pytest.mark.django_db
ACTIONS = (
    "rollout.start",
    "rollouts.odd",
    "roll.x",
    "rollout.start.late",
    "rollout",
    "device.rollout",
    "rollout.abort",
)


def listed(domain, action):
    """Return the actions that a filter lists."""
    return [one.action for one in ledger_entries(actor=system(domain), wanted=LedgerFilter(action=action))]


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        ("rollout", ["rollout.abort", "rollout", "rollout.start.late", "rollout.start"]),
        ("rollout.start", ["rollout.start"]),
        ("roll", ["roll.x"]),
        ("rollou_", []),
        ("rollout%", []),
        ("'", []),
    ],
)
def test_a_prefix_lists_what_stands_before_the_first_dot_and_a_dot_one_action(domain, action, expected):
    for one in ACTIONS:
        ledger.record(actor=system(domain), action=one, thing=("thing", "1"))
    assert listed(domain, action) == expected
