"""Tables of the devices floor: the registry, and the telemetry database."""

from devices.models.identity import (
    DeviceTransfer,
    EnrolmentRequest,
    HardwareIdentity,
    PreRegistration,
    SwitchOverride,
    TpmChallenge,
    VendorAnchor,
)
from devices.models.incidents import Incident
from devices.models.registry import Device, EnrolmentToken, HardwareModel, Twin
from devices.models.telemetry import BatchSeen, DriftState, Observation, Presence, Sample

__all__ = [
    "BatchSeen",
    "Device",
    "DeviceTransfer",
    "DriftState",
    "EnrolmentRequest",
    "EnrolmentToken",
    "HardwareIdentity",
    "HardwareModel",
    "Incident",
    "Observation",
    "PreRegistration",
    "Presence",
    "Sample",
    "SwitchOverride",
    "TpmChallenge",
    "Twin",
    "VendorAnchor",
]
