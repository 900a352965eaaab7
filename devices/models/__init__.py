"""Tables of the devices floor: the registry, and the telemetry database."""

from devices.models.incidents import Incident
from devices.models.registry import Device, EnrolmentToken, HardwareModel, Twin
from devices.models.telemetry import BatchSeen, DriftState, Observation, Presence, Sample

__all__ = [
    "BatchSeen",
    "Device",
    "DriftState",
    "EnrolmentToken",
    "HardwareModel",
    "Incident",
    "Observation",
    "Presence",
    "Sample",
    "Twin",
]
