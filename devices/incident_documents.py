"""The two documents of an incident, as the database keeps them and the API answers them: why, and what was done.

``devices.models.Incident`` names these types in its columns, so that mypy checks all code that reads or
writes a row. Rows of older servers may lack members: read with ``get``.
"""

from typing import Literal, NotRequired, TypedDict


class MetricEvidence(TypedDict):
    """How far one metric of a device deviated in one tick.

    Args:
        name: of ``devices.drift.metrics``.
        unit: of ``observed`` and ``expected``.
        trust: whether our servers counted it, or the device says so.
        observed: what arrived.
        expected: what the device's own past and its cohort suggest.
        own_z: deviation from the device's own baseline, in scales of it.
        cohort_z: deviation from the cohort, in scales of it.
        tail: how rare that is: -log10 of the probability.
        channel: one tick, or many.
        share: of the device's score, 0 to 1.
    """

    name: str
    unit: str
    trust: Literal["observed", "self-reported"]
    observed: float
    expected: float
    own_z: float
    cohort_z: float
    tail: NotRequired[float]
    channel: Literal["spike", "shift"]
    share: float


class PeerScore(TypedDict):
    """Name and score of another device of the same cohort in the same tick."""

    device: str
    score: float


class Explanation(TypedDict):
    """Why an incident was opened.

    Args:
        device: its name.
        cohort: name of its cohort; only for what the drift engine found.
        opened: RFC 3339 time.
        layer: ``numeric``, ``novelty``, ``corroborated`` or ``invariant``.
        kind: of an ``invariant``: what was broken, such as ``fork``.
        score: of the device, in the unit of ``theta``; 0 for an invariant.
        theta: the threshold; only for what the drift engine found.
        metrics: those that deviated, the strongest first.
        novel: destinations and services that are new to the whole cohort.
        peers: the strongest scores in the cohort beside it.
        text: one sentence for people.
    """

    device: NotRequired[str]
    cohort: NotRequired[str]
    opened: NotRequired[str]
    layer: str
    kind: NotRequired[str]
    score: float
    theta: NotRequired[float]
    metrics: list[MetricEvidence]
    novel: NotRequired[list[str]]
    peers: NotRequired[list[PeerScore]]
    text: str


class Reaction(TypedDict, total=False):
    """What was done about an incident; members come one after the other, as things happen.

    Args:
        proposed: what a person has to decide; empty once it was done.
        stopped: why nothing was done.
        quarantined: whether the device was.
        held: names of the rollouts that were held.
        repair: action number of the way back to the previous version.
        no_repair: why there is none.
        released: whether the device was let in again.
    """

    proposed: str
    stopped: str
    quarantined: bool
    held: list[str]
    repair: int
    no_repair: str
    released: bool
