"""Metrics in the words of people: each has a unit, numbers are rounded, and shares are percent."""

import pytest

from devices import metrics
from devices.drift.metrics import METRICS
from devices.metric_units import UNITS, amount_in_words, deviation_in_words
from tests.architecture.sources import ROOT

TICK_S = 300


@pytest.mark.parametrize(
    ("metric", "value", "words"),
    [
        ("packets_out", 417.72, "83.5 packets/min"),
        ("bytes_out", 1234567.8, "246,914 bytes/min"),
        ("auth_failures", 3.0, "36 failures/h"),
        ("temp_c", -3.25, "-3.25 °C"),
        ("battery_share", 0.25, "25%"),
        ("source_prefixes", 2.0, "2 networks"),
        ("flow_l_per_min", 2.0, "2"),
    ],
)
def test_an_amount_is_written_for_people(metric, value, words):
    assert amount_in_words(metric, value, TICK_S) == words


@pytest.mark.parametrize(
    ("metric", "observed", "expected", "words"),
    [
        ("packets_out", 1870.0, 106.5, "Sending 374 packets/min (baseline 21.3)"),
        ("confidence_mean", 0.31, 0.9, "Model confidence: 31% (baseline 90)"),
        ("flow_l_per_min", 2.0, 9.0, "flow_l_per_min: 2 (baseline 9)"),
    ],
)
def test_a_deviation_is_written_for_people(metric, observed, expected, words):
    assert deviation_in_words(metric, observed, expected, TICK_S) == words


def test_every_metric_that_the_server_knows_has_a_unit():
    assert set(UNITS) == {*metrics.USUAL, *metrics.OBSERVED, *(one.name for one in METRICS)}


def test_no_rate_is_per_tick():
    assert [one.unit for one in UNITS.values() if "tick" in one.unit or one.unit.startswith("1")] == []
    assert [one.unit for one in UNITS.values() if one.unit.endswith(("/min", "/h")) != bool(one.rate_s)] == []


def test_the_documented_metrics_have_units():
    page = (ROOT / "docs/reference/metrics.md").read_text()
    assert [name for name in metrics.OBSERVED if f"`{name}`" not in page] == []
