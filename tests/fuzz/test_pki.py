"""Whatever strangers send to the CA ends in a refusal, soon; the long form is ``make acceptance``."""

import pytest

from tests import mutations

TARGETS = {target.name: target for target in mutations.pki_targets()}


@pytest.mark.parametrize("name", TARGETS)
def test_good_input_is_read(name):
    TARGETS[name].read(TARGETS[name].good)


@pytest.mark.parametrize("name", TARGETS)
def test_mutated_input_ends_in_a_refusal(name):
    assert mutations.survives(TARGETS[name], 500) == []
