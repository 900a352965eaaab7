"""The parts of REST API responses that the demo reads; ``/api/v1/openapi.json`` describes them completely."""

from typing import NotRequired, TypedDict

from devices.incident_documents import Explanation, Reaction
from devices.twin_documents import ReportedTwin


class DeviceRow(TypedDict):
    """A device."""

    name: str
    enrolled_at: str | None
    reported: ReportedTwin


class IncidentRow(TypedDict):
    """An incident."""

    device: str
    layer: str
    explanation: Explanation
    reaction: Reaction


class WaveRow(TypedDict):
    """A wave of a rollout."""

    wave: int
    state: str


class FailureRow(TypedDict):
    """A cause of failure in a rollout, and the number of devices."""

    cause: str
    devices: int


class RolloutAnswer(TypedDict):
    """Progress of a rollout: devices by result."""

    devices: int
    groups: dict[str, int]
    waves: list[WaveRow]
    failures: list[FailureRow]


class RolloutRow(TypedDict):
    """A rollout."""

    id: str
    name: str
    state: str
    hold_reason: str
    progress: RolloutAnswer


class RolloutState(TypedDict):
    """Name and state of a rollout, in the summary."""

    name: str
    state: str


class StoryFacts(TypedDict):
    """The final state of the demo in numbers; ``find_deviations`` lists deviations from the expected state."""

    devices: int
    enrolled: int
    firmware_updated: int
    model_updated: int
    refused_tampered: int
    incidents: int
    quarantined: int
    released: int
    flagged: list[str]
    rollouts: list[RolloutState]
    seconds_to_console: float
    seconds_total: float
    operator_url: str
    device_url: str
    wrong: NotRequired[list[str]]
    ok: NotRequired[bool]
