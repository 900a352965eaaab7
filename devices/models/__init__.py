"""Tables of the devices package: the registry, and the telemetry database."""

from devices.models.counts import FleetCount
from devices.models.groups import Group, GroupMember
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
from devices.models.oscore import OscoreContext
from devices.models.registry import Device, EnrolmentToken, HardwareModel, Twin
from devices.models.telemetry import (
    BatchSeen,
    DeviceLog,
    DriftState,
    Observation,
    ObservationDay,
    Presence,
    Sample,
    SampleDay,
    Series,
    SourceNetwork,
)

__all__ = [
    "BatchSeen",
    "Device",
    "DeviceLog",
    "DeviceTransfer",
    "DriftState",
    "EnrolmentRequest",
    "EnrolmentToken",
    "FleetCount",
    "Group",
    "GroupMember",
    "HardwareIdentity",
    "HardwareModel",
    "Incident",
    "Observation",
    "ObservationDay",
    "OscoreContext",
    "PreRegistration",
    "Presence",
    "Sample",
    "SampleDay",
    "Series",
    "SourceNetwork",
    "SwitchOverride",
    "TpmChallenge",
    "Twin",
    "VendorAnchor",
]
