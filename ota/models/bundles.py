"""Bundles as they were accepted, their files, the hardware they are for, and the keys that verify them."""

from typing import TYPE_CHECKING

from django.db import models

from pki.kernel import clock, ids
from pki.kernel.plurals import number_of
from pki.models.documents import DocumentField

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ota.contract.bundle_documents import BundleDocument
    from ota.facts import BundleFacts


class TrustKey(models.Model):
    """A public key or CA certificate that verifies artefacts of one format, for one component or any."""

    class Format(models.TextChoices):
        MCUBOOT = "mcuboot"
        ESP = "esp"
        SWU = "swu"
        RAUC = "rauc"
        MENDER = "mender"
        TFLITE = "tflite"
        ONNX = "onnx"
        OMS = "oms"
        GENERIC = "generic"

    class Revocation(models.TextChoices):
        CRL = "crl"
        NONE = "none"

    domain = models.ForeignKey("pki.TrustDomain", models.PROTECT, related_name="+")
    public_id = models.UUIDField(default=ids.uuid7, unique=True, editable=False)
    name = models.CharField(max_length=100)
    format = models.CharField(max_length=16, choices=Format)
    component = models.CharField(max_length=60, blank=True)
    #: id of the only product (of its bundles) that it verifies; empty for any
    product = models.CharField(max_length=60, blank=True)
    pem = models.TextField()
    crl = models.TextField(blank=True)
    #: what happens without a CRL; keys of before this was asked are unstated: accepted, and shown in red
    revocation = models.CharField(max_length=8, blank=True, choices=Revocation)
    #: the CA above a signing CA and its CRLs: a signing CA can be revoked too
    issuer_pem = models.TextField(blank=True)
    issuer_crl = models.TextField(blank=True)
    fingerprint = models.CharField(max_length=64)
    added_at = models.DateTimeField(default=clock.now)
    withdrawn_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["domain", "name"], name="one_trust_key_a_name")]

    def __str__(self) -> str:
        return f"{self.name} ({self.format})"

    @property
    def revocation_state(self) -> str:
        """Return how revoked signers are noticed: ``crl``, ``none`` (stated), ``unstated``; ``n/a`` for a bare key."""
        if "CERTIFICATE" not in self.pem:
            return "n/a"
        return self.revocation or (self.Revocation.CRL.value if self.crl else "unstated")


class Bundle(models.Model):
    """One accepted bundle; it never changes after it was stored."""

    class Kind(models.TextChoices):
        FIRMWARE = "firmware"
        MODEL = "model"
        CONFIG = "config"
        COMPOSITE = "composite"

    domain = models.ForeignKey("pki.TrustDomain", models.PROTECT, related_name="+")
    public_id = models.UUIDField(default=ids.uuid7, unique=True, editable=False)
    digest = models.CharField(max_length=64)
    name = models.CharField(max_length=60)
    version = models.CharField(max_length=64)
    kind = models.CharField(max_length=12, choices=Kind)
    format = models.CharField(max_length=16)
    component = models.CharField(max_length=60)
    security_counter = models.IntegerField()
    audience = DocumentField(default=list)
    manifest: "models.JSONField[Mapping[str, object], BundleDocument]" = DocumentField()
    report = DocumentField()
    facts: "models.JSONField[Mapping[str, object], BundleFacts]" = DocumentField()
    uploaded_by_kind = models.CharField(max_length=16)
    uploaded_by_key = models.CharField(max_length=100)
    created_at = models.DateTimeField(default=clock.now)
    hardware_models = models.ManyToManyField("devices.HardwareModel", through="BundleHardware", related_name="+")

    class Meta:
        indexes = [
            models.Index(fields=["domain", "-id"]),
            models.Index(fields=["domain", "name", "component"]),
        ]
        constraints = [
            models.UniqueConstraint(fields=["domain", "digest"], name="one_bundle_a_digest"),
            models.UniqueConstraint(fields=["domain", "name", "component", "version"], name="one_bundle_a_version"),
            models.CheckConstraint(condition=models.Q(security_counter__gte=1), name="a_security_counter_is_positive"),
        ]

    def __str__(self) -> str:
        return f"{self.name} {self.version} ({self.component})"

    @property
    def image(self) -> "BundleFile":
        """Return the one file that devices install."""
        return next(file for file in self.files.all() if file.role == BundleFile.Role.IMAGE)

    @property
    def target_path(self) -> str:
        """Return the name of the bundle in the TUF repository."""
        return f"{self.component}/{self.name}/{self.version}/bundle.json"


class BundleFile(models.Model):
    """One file of a bundle, kept in the blob store under its SHA-256."""

    class Role(models.TextChoices):
        IMAGE = "image"
        SIGNATURE = "signature"
        GOLDEN = "golden"
        SBOM = "sbom"
        PROVENANCE = "provenance"
        ASSET = "asset"

    bundle = models.ForeignKey(Bundle, models.PROTECT, related_name="files")
    path = models.CharField(max_length=200)
    role = models.CharField(max_length=12, choices=Role)
    size = models.BigIntegerField()
    sha256 = models.CharField(max_length=64, db_index=True)
    sha1 = models.CharField(max_length=40)
    md5 = models.CharField(max_length=32)
    #: since then its bytes may be gone: no device can receive it any more
    collected_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["bundle", "path"], name="one_file_a_path"),
            models.UniqueConstraint(fields=["bundle"], condition=models.Q(role="image"), name="one_image_a_bundle"),
        ]

    def __str__(self) -> str:
        return self.path


class ModelArena(models.Model):
    """What devices of one hardware model say that a model takes of their arena, in bytes."""

    bundle = models.ForeignKey(Bundle, models.CASCADE, related_name="arenas")
    hardware_model = models.ForeignKey("devices.HardwareModel", models.CASCADE, related_name="+")
    #: public id of a device to its last word; of the first devices only, which is enough
    said = DocumentField(default=dict)
    median = models.BigIntegerField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["bundle", "hardware_model"], name="one_arena_a_hardware_model")]

    def __str__(self) -> str:
        return f"{self.median} bytes, reported by {number_of(len(self.said), 'device')}"


class BundleHardware(models.Model):
    """A hardware model that a bundle is for."""

    bundle = models.ForeignKey(Bundle, models.PROTECT, related_name="hardware")
    hardware_model = models.ForeignKey("devices.HardwareModel", models.PROTECT, related_name="+")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["bundle", "hardware_model"], name="one_row_a_hardware_model")]

    def __str__(self) -> str:
        return f"{self.bundle_id} for {self.hardware_model_id}"
