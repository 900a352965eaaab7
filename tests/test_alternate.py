"""Two versions measured in turn: medians, in the direction in which a figure is better."""

import pytest

from tests import alternate


def _rows(value, goal, *, met):
    return [{"name": "polls", "value": value, "unit": "1/s", "goal": goal, "met": met}]


@pytest.mark.parametrize(
    ("goal", "met", "better"), [(100, True, True), (900, True, False), (100, False, False), (900, False, True)]
)
def test_the_goal_says_in_which_direction_a_figure_is_better(goal, met, better):
    assert alternate.more_is_better(_rows(500, goal, met=met)[0]) is better


def test_medians_are_compared_and_a_loss_lies_below_one():
    rounds = [{"old": _rows(old, 100, met=True), "new": _rows(new, 100, met=True)} for old, new in
              ((200, 180), (210, 189), (1000, 101))]  # fmt: skip
    assert alternate.compared(rounds) == [{"name": "polls", "unit": "1/s", "old": 210, "new": 180, "ratio": 0.857}]


def test_a_row_of_one_version_alone_is_left_out():
    assert alternate.compared([{"old": [], "new": _rows(1, 2, met=True)}]) == []


def test_a_row_that_had_another_name_is_compared():
    old, new = ([{**_rows(5, 10, met=True)[0], "name": name}] for name in ("hot table", "poll cache"))
    assert [one["name"] for one in alternate.compared([{"old": old, "new": new}])] == ["poll cache"]
