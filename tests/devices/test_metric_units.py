"""Metrics in the words of people: each has a unit, numbers are rounded, and shares are percent."""

import pytest

from devices import metrics
from devices.drift.metrics import METRICS
from devices.metric_units import UNITS, amount_in_words
from tests.architecture.sources import ROOT


@pytest.mark.parametrize(
    ("metric", "value", "words"),
    [
        ("packets_out", 417.72, "417.7 packets per tick"),
        ("bytes_out", 1234567.8, "1,234,568 bytes per tick"),
        ("temp_c", -3.25, "-3.25 °C"),
        ("battery_share", 0.25, "25%"),
        ("flow_l_per_min", 2.0, "2"),
    ],
)
def test_an_amount_is_written_for_people(metric, value, words):
    assert amount_in_words(metric, value) == words


def test_every_metric_that_the_server_knows_has_a_unit():
    assert set(UNITS) == {*metrics.USUAL, *metrics.OBSERVED, *(one.name for one in METRICS)}


def test_no_unit_is_a_formula():
    assert [unit for unit in UNITS.values() if "/" in unit or unit == "1"] == []


def test_the_documented_metrics_have_units():
    page = (ROOT / "docs/reference/metrics.md").read_text()
    assert [name for name in metrics.OBSERVED if f"`{name}`" not in page] == []
