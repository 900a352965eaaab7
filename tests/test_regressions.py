"""The table of regressions is generated from the tests, and every mark names a row."""

from tests.regressions import DOCUMENT, ROWS, collected_proofs, document


def test_every_mark_names_a_row():
    assert set(collected_proofs()) <= set(ROWS)


def test_the_table_is_up_to_date():
    assert DOCUMENT.read_text() == document(), "run: python -m tests.regressions"
