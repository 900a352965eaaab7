"""Tables of the ota package."""

from ota.models.bundles import Bundle, BundleFile, BundleHardware, ModelArena, TrustKey
from ota.models.commands import Command
from ota.models.deltas import Delta, PatchTry, PatchWork
from ota.models.patch_counts import PatchCount
from ota.models.releases import Release, Statement, StatementSignature
from ota.models.rollouts import Assignment, AssignmentEvent, Rollout, Wave
from ota.models.status_counts import StatusCount

__all__ = [
    "Assignment",
    "AssignmentEvent",
    "Bundle",
    "BundleFile",
    "BundleHardware",
    "Command",
    "Delta",
    "ModelArena",
    "PatchCount",
    "PatchTry",
    "PatchWork",
    "Release",
    "Rollout",
    "Statement",
    "StatementSignature",
    "StatusCount",
    "TrustKey",
    "Wave",
]
