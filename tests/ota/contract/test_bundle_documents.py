"""Bounds of the security counter of what must run beside a bundle."""

import pytest

from ota.contract.bundle_documents import is_within


@pytest.mark.parametrize(
    ("most", "counter", "within"),
    [(None, 1, False), (None, 2, True), (None, 99, True), (4, 1, False), (4, 2, True), (4, 4, True), (4, 5, False)],
)
def test_a_counter_lies_within_the_bounds_of_a_requirement(most, counter, within):
    need = {"component": "app", "min_counter": 2} | ({"max_counter": most} if most else {})
    assert is_within(need, counter) is within
