"""The short form of what ``make acceptance`` fuzzes for ten minutes: the same targets, seeded, without an instrumented build."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz import listeners

RUNS = {target: listeners.target_of(target) for target in listeners.TARGETS}


def changed(good):
    """Return a strategy: good inputs with a part replaced, and plain rubbish."""
    places = st.integers(0, max(map(len, good)))
    mutated = st.builds(
        lambda data, at, put, cut: data[:at] + put + data[at + cut :],
        st.sampled_from(good), places, st.binary(max_size=12), st.integers(0, 12),
    )  # fmt: skip
    return st.one_of(mutated, st.binary(max_size=600))


@pytest.mark.parametrize("target", listeners.TARGETS)
def test_nothing_breaks_an_entry(target):
    @settings(max_examples=600, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
    @given(changed(listeners.corpus(target)))
    def feed(data):
        RUNS[target](data)

    feed()


@pytest.mark.parametrize("target", listeners.TARGETS)
def test_the_fuzzers_inputs_reach_what_they_are_meant_for(target):
    for data in listeners.corpus(target):
        RUNS[target](data)
