"""Our reader of libconfig text beside the library: what both accept they read alike, what one refuses is stated."""

import pytest

from tests import differences
from tests.factories.descriptions import SYNTAX
from tests.peers import libconfig
from tests.peers.programs import skip_missing
from tests.regressions import regression

pytestmark = pytest.mark.peer


@pytest.fixture(autouse=True)
def needed():
    if not libconfig.library_name():
        skip_missing("the library libconfig")


def test_written_out_texts_are_read_alike():
    texts = [variant.text for variant in SYNTAX.values()] + differences.TEXTS
    assert differences.between(texts) == []


@regression("C2", "mutated libconfig texts, read by us and by the library")
def test_mutated_texts_are_read_alike():
    assert differences.between(differences.mutated_texts(600, 1)) == []


def test_the_library_takes_most_of_what_is_compared():
    """A comparison of refusals alone would prove nothing."""
    found = libconfig.trees(differences.mutated_texts(300, 2))
    assert sum(isinstance(one, list) for one in found) > 60
