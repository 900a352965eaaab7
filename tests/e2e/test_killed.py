"""``kill -9`` in the middle of the story, and the same command again: it goes on, and nothing is doubled or lost."""

import pytest

from tests.factories.story import DEVICES

pytestmark = pytest.mark.xdist_group("listeners")


def test_the_story_goes_on_after_kill_9_in_the_middle(interrupted):
    facts = interrupted.summary
    assert facts["ok"], facts["wrong"]
    assert facts["devices"] == facts["enrolled"] == DEVICES
    assert (facts["firmware_updated"], facts["refused_tampered"], facts["quarantined"]) == (DEVICES - 2, 1, 1)
    assert sorted(one["name"] for one in facts["rollouts"]) == sorted({one["name"] for one in facts["rollouts"]})
    assert {one["state"] for one in facts["rollouts"]} == {"finished"}
