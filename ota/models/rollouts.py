"""Rollouts, their waves, and the assignments that they make; an assignment is a DDI action too."""

from django.db import models
from django.db.models import CharField, F, Func, Q
from django.db.models.lookups import IsNull

from ota.models.bundles import Bundle
from ota.models.releases import Release
from pki.kernel import clock, ids
from pki.models.documents import DocumentField


class Rollout(models.Model):
    """The way of one release to the devices that it is for, in waves.

    ``targets`` is how many devices take part; it is 0 until they have been chosen. ``planner`` is the process that
    adds them while the rollout is preparing, ``planned_at`` when it last wrote.
    """

    class State(models.TextChoices):
        PREPARING = "preparing"
        DRAFT = "draft"
        RUNNING = "running"
        HELD = "held"
        PAUSED = "paused"
        FINISHED = "finished"
        ABORTING = "aborting"
        ABORTED = "aborted"

    domain = models.ForeignKey("pki.TrustDomain", models.PROTECT, related_name="+")
    public_id = models.UUIDField(default=ids.uuid7, unique=True, editable=False)
    name = models.CharField(max_length=100)
    release = models.ForeignKey(Release, models.PROTECT, related_name="+")
    state = models.CharField(max_length=10, choices=State, default=State.DRAFT)
    hold_reason = models.CharField(max_length=300, blank=True)
    hold_key = models.CharField(max_length=60, blank=True)
    success_permille = models.IntegerField()
    error_permille = models.IntegerField()
    excluded = DocumentField(default=dict)
    target = models.CharField(max_length=1000, blank=True)
    targets = models.IntegerField(default=0)
    planner = models.CharField(max_length=32, blank=True)
    planned_at = models.DateTimeField(null=True)
    created_by = models.CharField(max_length=120)
    created_at = models.DateTimeField(default=clock.now)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [models.Index(fields=["domain", "state"])]
        constraints = [
            models.UniqueConstraint(fields=["domain", "name"], name="one_rollout_a_name"),
            models.CheckConstraint(condition=~Q(state="held") | ~Q(hold_reason=""), name="a_hold_has_its_reason"),
        ]

    def __str__(self) -> str:
        return self.name


class Wave(models.Model):
    """One step of a rollout: a share of its devices, cumulative, and how long it must stay healthy.

    ``count`` and ``share`` are the plan that it was made from (``planning.WavePlan``).
    """

    class State(models.TextChoices):
        WAITING = "waiting"
        OPENING = "opening"
        OPEN = "open"
        DONE = "done"

    rollout = models.ForeignKey(Rollout, models.CASCADE, related_name="waves")
    index = models.IntegerField()
    label = models.CharField(max_length=20)
    count = models.IntegerField(default=0)
    share = models.IntegerField(default=0)
    soak_s = models.IntegerField()
    state = models.CharField(max_length=8, choices=State, default=State.WAITING)
    gate = models.CharField(max_length=300, blank=True)
    opened_at = models.DateTimeField(null=True)
    checked_at = models.DateTimeField(null=True)
    done_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["index"]
        constraints = [models.UniqueConstraint(fields=["rollout", "index"], name="one_wave_an_index")]

    def __str__(self) -> str:
        return f"{self.rollout} wave {self.index + 1}"


#: The group of an assignment, if more than one status belongs to it. Its words stand in the statement itself, because
#: SQLite finds no index of an expression whose words are parameters.
GROUP_OF_SEVERAL = Func(
    F("status"),
    template=(
        "CASE %(expressions)s WHEN 'scheduled' THEN 'offered' WHEN 'retrieved' THEN 'offered'"
        " WHEN 'running' THEN 'installing' WHEN 'download' THEN 'installing' WHEN 'downloaded' THEN 'installing'"
        " WHEN 'installed' THEN 'installing' WHEN 'warning' THEN 'installing' END"
    ),
    output_field=CharField(),
)


class Assignment(models.Model):
    """What one device must install; DDI clients call it ``action_id``."""

    class Kind(models.TextChoices):
        UPDATE = "update"
        REPAIR = "repair"

    class Status(models.TextChoices):
        WAITING = "waiting"
        SCHEDULED = "scheduled"
        RETRIEVED = "retrieved"
        RUNNING = "running"
        DOWNLOAD = "download"
        DOWNLOADED = "downloaded"
        INSTALLED = "installed"
        WARNING = "warning"
        CANCELING = "canceling"
        CANCELED = "canceled"
        ERROR = "error"
        FINISHED = "finished"

    domain = models.ForeignKey("pki.TrustDomain", models.PROTECT, related_name="+")
    public_id = models.UUIDField(default=ids.uuid7, unique=True, editable=False)
    action_id = models.IntegerField()
    # Other indexes below begin with these two, or with the domain and the rollout.
    rollout = models.ForeignKey(Rollout, models.PROTECT, null=True, related_name="assignments", db_index=False)
    wave = models.ForeignKey(Wave, models.PROTECT, null=True, related_name="assignments", db_index=False)
    device = models.ForeignKey("devices.Device", models.PROTECT, related_name="+")
    bundle = models.ForeignKey(Bundle, models.PROTECT, related_name="+")
    kind = models.CharField(max_length=6, choices=Kind)
    status = models.CharField(max_length=10, choices=Status, default=Status.SCHEDULED)
    reason = models.CharField(max_length=500, blank=True)
    previous_bundle = models.ForeignKey(Bundle, models.PROTECT, null=True, related_name="+")
    content_stamp = models.IntegerField()
    created_at = models.DateTimeField(default=clock.now)
    updated_at = models.DateTimeField(default=clock.now)
    closed_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["domain", "action_id"], name="one_assignment_an_action"),
            models.UniqueConstraint(fields=["rollout", "device"], name="one_assignment_a_rollout_and_device"),
        ]
        indexes = [
            models.Index(fields=["device", "closed_at"]),
            models.Index(fields=["wave", "status"]),
            # With the id, so that lists in that order are read from the index and not from all rows of the domain.
            models.Index(fields=["domain", "device", "id"], name="assignments_of_a_device"),
            models.Index(fields=["domain", "status", "id"], name="assignments_in_a_status"),
            models.Index(fields=["domain", "rollout", "id"], name="assignments_of_a_rollout"),
            models.Index(fields=["domain", "rollout", "status", "id"], name="statuses_of_a_rollout"),
            models.Index(
                "domain",
                GROUP_OF_SEVERAL,
                "id",
                condition=Q(IsNull(GROUP_OF_SEVERAL, rhs=False)),
                name="assignments_in_a_group",
            ),
            models.Index(
                "domain",
                "rollout",
                GROUP_OF_SEVERAL,
                "id",
                condition=Q(IsNull(GROUP_OF_SEVERAL, rhs=False)),
                name="groups_of_a_rollout",
            ),
            models.Index(
                fields=["domain", "closed_at", "device", "status"],
                condition=Q(closed_at__isnull=True),
                name="open_assignments",
            ),
            models.Index(fields=["device", "status"], condition=Q(kind="repair"), name="repairs_of_a_device"),
        ]

    def __str__(self) -> str:
        return f"action {self.action_id}"

    @property
    def open(self) -> bool:
        """Return whether the device has not ended it yet."""
        return self.closed_at is None


class AssignmentEvent(models.Model):
    """One thing that a device said, or that was done, about an assignment."""

    assignment = models.ForeignKey(Assignment, models.CASCADE, related_name="events")
    at = models.DateTimeField(default=clock.now)
    status = models.CharField(max_length=10)
    text = models.TextField(blank=True)

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return f"{self.status} {self.text[:40]}"
