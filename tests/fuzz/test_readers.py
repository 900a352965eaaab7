"""The short form of what the acceptance suite fuzzes for ten minutes: the same targets, seeded, without instrumentation."""

import pytest
from hypothesis import HealthCheck, given, settings

from tests.fuzz import readers
from tests.fuzz.test_listeners import changed
from tests.regressions import regression


@regression("C2", "fuzzed descriptions, archives and expressions")
@pytest.mark.parametrize("target", readers.TARGETS)
def test_nothing_breaks_a_reader(target):
    run = readers.target_of(target)
    for data in readers.corpus(target):
        run(data)

    @settings(max_examples=200, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
    @given(changed(readers.corpus(target)))
    def feed(data):
        run(data)

    feed()
