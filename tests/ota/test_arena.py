"""The predicted arena, against what TensorFlow Lite Micro (0.dev20261023) was measured to take for the same models."""

import pytest

from ota.fit import ModelCapacity, arena_margin, fit_verdict
from ota.formats import graph, tflite
from tests.factories import models


@pytest.mark.parametrize(
    ("sizes", "real"), [((16, 8, 4), 1264), ((128, 64, 32, 16), 1664), ((1000, 10), 2000), ((8,) * 10, 2992)]
)
def test_what_is_predicted_is_what_the_interpreter_takes(sizes, real):
    predicted = tflite.predict_arena(graph.read_model(models.dense(sizes)))["predicted"]
    assert abs(predicted - real) <= 0.02 * real
    assert arena_margin(predicted) >= real


@pytest.mark.parametrize(("flash", "arena", "codes"), [
    (10_000, 2000, []), (10, 2000, ["flash_exceeded"]), (10_000, 100, ["arena_exceeded"]),
    (0, 0, ["flash_exceeded", "arena_exceeded"]),
])  # fmt: skip
def test_what_does_not_fit_is_said_with_numbers(flash, arena, codes):
    data = models.dense()
    facts = {"flash": len(data), "arena": {"need": 1776, "source": "predicted"}}
    assert [one.kind for one in fit_verdict("model", "tflite", facts, ModelCapacity(flash, arena))] == codes
