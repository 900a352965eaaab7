"""Numbers of things."""

import pytest

from pki.kernel.plurals import number_of


@pytest.mark.parametrize(
    ("number", "words"), [(0, "0 entries"), (1, "1 entry"), (2, "2 entries"), (1200, "1,200 entries")]
)
def test_a_number_takes_the_noun_in_its_form(number, words):
    assert number_of(number, "entry", "entries") == words


def test_most_nouns_take_an_s():
    assert (number_of(1, "device"), number_of(3, "device")) == ("1 device", "3 devices")
