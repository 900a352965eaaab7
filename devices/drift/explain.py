"""Explain why a device was flagged, in numbers and text. Pure."""

from dataclasses import dataclass

import numpy as np

from devices.drift.engine import EXCESS_CAP, EXCESS_FROM, DriftStep
from devices.drift.metrics import METRICS, Array, restore_unit
from devices.incident_documents import Explanation, MetricEvidence, PeerScore
from devices.metric_units import deviation_in_words

#: metrics and similar devices in an explanation; metrics and destinations in its sentence
MOST_METRICS, MOST_PEERS, MOST_NAMED = 6, 5, 3
#: classes of addresses (``devices.services.telemetry.CLASSES``) in words
_PLACES = {"wan": "outside the site", "lan": "inside the site", "multicast": "multicast"}


@dataclass(frozen=True, slots=True)
class FlaggedTick:
    """What is known of one flagged device in one tick.

    Args:
        device: its name.
        cohort: name of its cohort.
        row: its row in the step's arrays.
        opened: RFC 3339 time of the tick.
        theta: the threshold (θ) of the tick, -log10 of a tail probability.
        strange: novelty keys that are new to its whole cohort.
        tick_s: seconds of a tick.
    """

    device: str
    cohort: str
    row: int
    opened: str
    theta: float
    strange: list[str]
    tick_s: float


def explain_step(case: FlaggedTick, step: DriftStep, raw: Array, members: dict[str, int]) -> Explanation:
    """Return the explanation.

    Args:
        case: the flagged device.
        step: the tick's scores.
        raw: [D, M] values of the tick.
        members: name -> row of the other members of its cohort that reported.
    """
    metrics = _metrics(case, step, raw)
    numeric = float(step.score[case.row]) > case.theta
    layer = "corroborated" if numeric and case.strange else "novelty" if case.strange else "numeric"
    return {
        "device": case.device,
        "cohort": case.cohort,
        "opened": case.opened,
        "layer": layer,
        "score": round(float(step.score[case.row]), 2),
        "theta": round(case.theta, 2),
        "metrics": metrics,
        "novel": case.strange,
        "peers": _peers(case, step, members),
        "text": _text(metrics if numeric else [], case.strange, case.tick_s),
    }


def _metrics(case: FlaggedTick, step: DriftStep, raw: Array) -> list[MetricEvidence]:
    excess = np.clip(step.metric_score[case.row] - EXCESS_FROM, 0, EXCESS_CAP) ** 2
    whole = float(excess.sum()) or 1.0
    metrics: list[MetricEvidence] = []
    for column in np.argsort(-excess)[:MOST_METRICS]:
        metric = METRICS[column]
        if excess[column] <= 0:
            break
        metrics.append(
            {
                "name": metric.name,
                "unit": metric.unit,
                "trust": "observed" if metric.observed else "self-reported",
                "observed": round(float(raw[case.row, column]), 2),
                "expected": round(restore_unit(float(step.expected[case.row, column]), metric.kind), 2),
                "own_z": round(float(step.own_z[case.row, column]), 1),
                "cohort_z": round(float(step.cohort_z[case.row, column]), 1),
                "tail": round(float(step.metric_score[case.row, column]), 1),
                "channel": "spike" if step.is_spike[case.row, column] else "shift",
                "share": round(float(excess[column]) / whole, 3),
            }
        )
    return metrics


def _peers(case: FlaggedTick, step: DriftStep, members: dict[str, int]) -> list[PeerScore]:
    rows = [(name, float(step.score[row])) for name, row in members.items() if row != case.row]
    return [
        {"device": name, "score": round(score, 2)} for name, score in sorted(rows, key=lambda one: -one[1])[:MOST_PEERS]
    ]


def _text(metrics: list[MetricEvidence], strange: list[str], tick_s: float) -> str:
    parts = [
        deviation_in_words(metric["name"], metric["observed"], metric["expected"], tick_s)
        for metric in metrics[:MOST_NAMED]
    ]
    sentences = [f"{'; '.join(parts)}."] if parts else []
    named = [destination_in_words(key) for key in strange[:MOST_NAMED]]
    if len(named) == 1:
        sentences.append(f"New destination: {named[0]}; no device in its cohort has used it before.")
    elif named:
        sentences.append(f"New destinations: {'; '.join(named)}; no device in its cohort has used them before.")
    return " ".join(sentences) or "No metric deviates."


def destination_in_words(key: str) -> str:
    """Return a destination for people, for example "TCP port 4444, outside the site".

    Args:
        key: protocol, port and class of the address, as in ``tcp:4444:wan``; another form is returned as it is.
    """
    match key.split(":"):
        case [protocol, port, place] if place in _PLACES:
            return f"{protocol.upper()} port {port}, {_PLACES[place]}"
        case _:
            return key
