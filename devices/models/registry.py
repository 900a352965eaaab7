"""The registry: hardware models, devices, their twins, and enrolment tokens."""

import uuid
from typing import TYPE_CHECKING

from django.db import models
from django.db.models import Q

from devices.contact_words import NEVER_WORD
from pki.kernel import clock, ids
from pki.models import TrustDomain
from pki.models.documents import DocumentField

if TYPE_CHECKING:
    from devices.twin_documents import ReportedTwin


class HardwareModel(models.Model):
    """A hardware model: its identifiers (SUIT, MCUboot) and its resources for bundles.

    ``flash_model`` and ``arena`` are bytes for a machine-learning model and its tensor arena; 0 means none.
    ``runtime`` says what its firmware can run of models (``devices.runtime``); empty says nothing.
    ``telemetry`` maps the metrics that it may report to data classes; empty for the usual ones (``devices.metrics``).
    """

    domain = models.ForeignKey(TrustDomain, models.PROTECT, related_name="+")
    public_id = models.UUIDField(default=ids.uuid7, unique=True, editable=False)
    name = models.CharField(max_length=60)
    vendor = models.CharField(max_length=100)
    vendor_id = models.UUIDField()
    class_id = models.UUIDField()
    flash_model = models.BigIntegerField(default=0)
    arena = models.BigIntegerField(default=0)
    telemetry = DocumentField(default=dict)
    runtime = DocumentField(default=dict)
    created_at = models.DateTimeField(default=clock.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["domain", "name"], name="one_hardware_model_a_name"),
            models.UniqueConstraint(fields=["domain", "class_id"], name="one_hardware_model_a_class"),
        ]

    def __str__(self) -> str:
        return self.name


class Device(models.Model):
    """One device, found by public id or by its name, which is unique in its domain.

    ``name``, ``owner``, ``site`` and ``tags`` may be personal data. The audit log holds only salted commitments;
    erasing ``salt`` makes them worthless. ``presence`` is one of ``devices.contact_words``, seconds behind
    the last contact; empty when the device is retired. ``trusted_roots`` repeats which roots its last report named, as
    ``trusted_root_marks`` makes it, so that a switch of root is decided from an index.
    """

    class State(models.TextChoices):
        PENDING = "pending"
        ACTIVE = "active"
        SUSPENDED = "suspended"
        RETURNED = "returned"
        RETIRED = "retired"

    domain = models.ForeignKey(TrustDomain, models.PROTECT, related_name="+")
    public_id = models.UUIDField(default=ids.uuid7, unique=True, editable=False)
    name = models.CharField(max_length=100)
    hardware_model = models.ForeignKey(HardwareModel, models.PROTECT, related_name="+")
    state = models.CharField(max_length=9, choices=State, default=State.PENDING)
    audience = models.CharField(max_length=10, default="production")
    quarantined_at = models.DateTimeField(null=True)
    quarantine_reason = models.CharField(max_length=300, blank=True)
    site = models.CharField(max_length=100, blank=True)
    owner = models.CharField(max_length=200, blank=True)
    tags = DocumentField(default=list)
    parent = models.ForeignKey("self", models.PROTECT, null=True, related_name="+")
    enrolled_at = models.DateTimeField(null=True)
    presence = models.CharField(max_length=7, default=NEVER_WORD, blank=True)
    trusted_roots = models.CharField(max_length=140, null=True)  # noqa: DJ001  because a default copies SQLite tables
    salt = models.BinaryField(default=ids.new_salt)
    created_at = models.DateTimeField(default=clock.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["domain", "name"], name="one_device_a_name"),
            models.CheckConstraint(
                condition=Q(quarantined_at__isnull=True) | ~Q(quarantine_reason=""),
                name="a_quarantine_has_its_reason",
            ),
        ]
        # With name and id, so that lists in that order are read from the index and not from all rows of the domain.
        indexes = [
            models.Index(fields=["domain", "state", "name", "id"], name="devices_in_a_state"),
            models.Index(fields=["domain", "hardware_model", "name", "id"], name="devices_of_a_hardware_model"),
            models.Index(
                fields=["domain", "name", "id"], condition=Q(quarantined_at__isnull=False), name="quarantined_devices"
            ),
            # Of one presence by name for the console, by age for the REST API.
            models.Index(fields=["domain", "presence", "name", "id"], name="devices_of_a_presence"),
            models.Index(fields=["domain", "presence", "id"], name="devices_of_a_presence_by_age"),
            models.Index(fields=["domain", "state", "trusted_roots"], name="devices_by_trusted_roots"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def key(self) -> str:
        """Return the name under which certificates, ledger and actors know this device."""
        return str(self.public_id)

    @property
    def quarantined(self) -> bool:
        """Return whether the device is quarantined."""
        return self.quarantined_at is not None


class Twin(models.Model):
    """The desired and the reported state of a device, each with its own version.

    ``desired`` holds ``components``, which rollouts write, and ``config``, which operators write; ``config_version`` is
    the version of that part, ``config_fetched`` the one that the device has fetched. ``fork_token`` is what the
    device's next report must repeat, ``fork_previous`` what the last one did: the answer to it may have got lost.
    """

    device = models.OneToOneField(Device, models.CASCADE, related_name="twin")
    desired = DocumentField(default=dict)
    desired_version = models.BigIntegerField(default=0)
    config_version = models.BigIntegerField(default=0)
    config_fetched = models.BigIntegerField(default=0)
    reported: "models.JSONField[ReportedTwin, ReportedTwin]" = DocumentField(default=dict)
    reported_version = models.BigIntegerField(default=0)
    report_sequence = models.BigIntegerField(default=0)
    reported_at = models.DateTimeField(null=True)
    fork_token = models.CharField(max_length=16, blank=True)
    fork_previous = models.CharField(max_length=16, blank=True)

    def __str__(self) -> str:
        return f"twin of {self.device}"


class EnrolmentToken(models.Model):
    """A one-time permission to enrol one device of one hardware model; only its hash is kept."""

    domain = models.ForeignKey(TrustDomain, models.PROTECT, related_name="+")
    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    secret_hash = models.CharField(max_length=64, unique=True)
    hardware_model = models.ForeignKey(HardwareModel, models.PROTECT, related_name="+")
    device_name = models.CharField(max_length=100, blank=True)
    profile = models.CharField(max_length=40, default="device")
    replaces = models.BooleanField(default=False)
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True)
    used_by = models.ForeignKey(Device, models.PROTECT, null=True, related_name="+")
    used_spki = models.CharField(max_length=64, blank=True)
    withdrawn_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(default=clock.now)
    created_by = models.CharField(max_length=120)

    def __str__(self) -> str:
        return str(self.public_id)

    @property
    def state(self) -> str:
        """Return used, withdrawn, expired or open."""
        if self.used_at:
            return "used"
        if self.withdrawn_at:
            return "withdrawn"
        return "expired" if self.expires_at <= clock.now() else "open"
