"""How devices prove their identity: pre-registered devices, trusted vendors, pending requests."""

from django.db import models
from django.db.models import Q

from devices.models.registry import Device, HardwareModel
from pki.kernel import clock, ids
from pki.models import TrustDomain
from pki.models.documents import DocumentField


class HardwareIdentity(models.Model):
    """An identity in hardware that one device has proved: an IDevID (802.1AR) or a TPM's endorsement key.

    ``key`` is its unique key: vendor anchor and serial number, or the hash of the endorsement key.
    """

    class Kind(models.TextChoices):
        IDEVID = "idevid", "IDevID"
        TPM = "tpm", "TPM 2.0"

    domain = models.ForeignKey(TrustDomain, models.PROTECT, related_name="+")
    device = models.ForeignKey(Device, models.PROTECT, related_name="identities")
    kind = models.CharField(max_length=6, choices=Kind)
    key = models.CharField(max_length=200)
    vendor = models.CharField(max_length=200)
    serial = models.CharField(max_length=100, blank=True)
    facts = DocumentField(default=dict)
    verified_at = models.DateTimeField(default=clock.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["domain", "kind", "key"], name="one_device_an_identity")]

    def __str__(self) -> str:
        return f"{self.kind} {self.vendor} {self.serial}"


class PreRegistration(models.Model):
    """A pre-registered device: its serial number and, without a vendor certificate, the hash of its key."""

    domain = models.ForeignKey(TrustDomain, models.PROTECT, related_name="+")
    public_id = models.UUIDField(default=ids.uuid7, unique=True, editable=False)
    serial = models.CharField(max_length=100)
    spki_sha256 = models.CharField(max_length=64, blank=True, db_index=True)
    hardware_model = models.ForeignKey(HardwareModel, models.PROTECT, related_name="+")
    device_name = models.CharField(max_length=100)
    profile = models.CharField(max_length=40, default="device")
    used_at = models.DateTimeField(null=True)
    used_by = models.ForeignKey(Device, models.PROTECT, null=True, related_name="+")
    created_at = models.DateTimeField(default=clock.now)
    created_by = models.CharField(max_length=120)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["domain", "serial"], name="one_expectation_a_serial"),
            models.UniqueConstraint(
                fields=["domain", "spki_sha256"], condition=~Q(spki_sha256=""), name="one_expectation_a_key"
            ),
        ]

    def __str__(self) -> str:
        return self.serial


class VendorAnchor(models.Model):
    """A vendor's CA certificate: it verifies factory identities, for first enrolment only."""

    domain = models.ForeignKey(TrustDomain, models.PROTECT, related_name="+")
    public_id = models.UUIDField(default=ids.uuid7, unique=True, editable=False)
    name = models.CharField(max_length=100)
    kind = models.CharField(max_length=6, choices=HardwareIdentity.Kind)
    hardware_model = models.ForeignKey(HardwareModel, models.PROTECT, null=True, related_name="+")
    der = models.BinaryField()
    fingerprint = models.CharField(max_length=64)
    withdrawn_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(default=clock.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["domain", "kind", "fingerprint"], name="one_anchor_a_certificate")
        ]

    def __str__(self) -> str:
        return self.name


class EnrolmentRequest(models.Model):
    """A first enrolment that needs approval; found again by its caller and key."""

    class State(models.TextChoices):
        WAITING = "waiting"
        APPROVED = "approved"
        DENIED = "denied"
        ISSUED = "issued"

    domain = models.ForeignKey(TrustDomain, models.PROTECT, related_name="+")
    public_id = models.UUIDField(default=ids.uuid7, unique=True, editable=False)
    caller = models.CharField(max_length=64)
    spki_sha256 = models.CharField(max_length=64)
    name = models.CharField(max_length=100)
    hardware_model = models.ForeignKey(HardwareModel, models.PROTECT, related_name="+")
    proof = models.CharField(max_length=16)
    profile = models.CharField(max_length=40)
    facts = DocumentField(default=dict)
    state = models.CharField(max_length=8, choices=State, default=State.WAITING)
    why = models.CharField(max_length=200)
    reason = models.CharField(max_length=300, blank=True)
    decided_by = models.CharField(max_length=120, blank=True)
    decided_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(default=clock.now)
    expires_at = models.DateTimeField()
    asked_at = models.DateTimeField(default=clock.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["domain", "caller", "spki_sha256"], name="one_request_a_caller_and_key")
        ]
        indexes = [models.Index(fields=["domain", "state"])]

    def __str__(self) -> str:
        return f"{self.name} ({self.state})"

    @property
    def key(self) -> str:
        """Return the public id as text."""
        return str(self.public_id)


class TpmChallenge(models.Model):
    """A credential that only one TPM can open, sent to verify that AK and EK are in the same TPM."""

    domain = models.ForeignKey(TrustDomain, models.PROTECT, related_name="+")
    public_id = models.UUIDField(default=ids.uuid7, unique=True, editable=False)
    secret_hash = models.CharField(max_length=64)
    nonce = models.CharField(max_length=64)
    ak_public = models.BinaryField()
    ek_hash = models.CharField(max_length=64)
    anchor = models.ForeignKey(VendorAnchor, models.PROTECT, related_name="+")
    serial = models.CharField(max_length=100, blank=True)
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return str(self.public_id)


class SwitchOverride(models.Model):
    """One person's request to switch to another CA although some devices do not trust its root; two are required."""

    domain = models.ForeignKey(TrustDomain, models.PROTECT, related_name="+")
    key_id = models.CharField(max_length=64)
    asked_by = models.CharField(max_length=120)
    asked_at = models.DateTimeField(default=clock.now)

    def __str__(self) -> str:
        return f"{self.key_id[:8]} by {self.asked_by}"


class DeviceTransfer(models.Model):
    """An offer to transfer a device to another trust domain; only the hash of its code is stored."""

    device = models.ForeignKey(Device, models.PROTECT, related_name="+")
    code_hash = models.CharField(max_length=64, unique=True)
    expires_at = models.DateTimeField()
    taken_at = models.DateTimeField(null=True)
    taken_by = models.CharField(max_length=40, blank=True)

    def __str__(self) -> str:
        return f"{self.device}"
