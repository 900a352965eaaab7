"""The telemetry database: it may lose its last seconds, and no key reaches into the other one."""

from django.db import models
from django.db.models import Q

from devices.contact_words import NEVER_WORD
from pki.kernel import clock

#: series of at most this step are thinned when they are old
FINE_MS = 30_000


class Presence(models.Model):
    """When a device was last heard, and from where; ``word`` is the presence that the main database has of it.

    It is ``IN_CHANGE`` while the two may differ.
    """

    device_id = models.BigIntegerField(primary_key=True)
    last_seen = models.DateTimeField()
    address = models.CharField(max_length=64, blank=True)
    word = models.CharField(max_length=7, default=NEVER_WORD)

    class Meta:
        indexes = [models.Index(fields=["word", "last_seen"], name="contacts_of_a_word")]

    def __str__(self) -> str:
        return f"{self.device_id} {self.last_seen}"


class SourceNetwork(models.Model):
    """A network (/24 or /48) that a device was heard from, and the last tick in which it was."""

    device_id = models.BigIntegerField()
    prefix = models.CharField(max_length=64)
    first_seen = models.DateTimeField(default=clock.now)
    last_tick = models.BigIntegerField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["device_id", "prefix"], name="one_network_a_device_and_prefix")]

    def __str__(self) -> str:
        return f"{self.device_id} {self.prefix}"


class Sample(models.Model):
    """One metric of one device in one tick; ``trust`` says whether the device gateway observed it."""

    device_id = models.BigIntegerField()
    tick = models.BigIntegerField()
    metric = models.CharField(max_length=40)
    value = models.FloatField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tick", "device_id", "metric"], name="one_sample_a_tick_and_metric")
        ]
        indexes = [models.Index(fields=["device_id", "tick"])]

    def __str__(self) -> str:
        return f"{self.device_id} {self.metric}={self.value}"


class Observation(models.Model):
    """A novelty key that a device showed in a tick: a destination by protocol, port and class."""

    device_id = models.BigIntegerField()
    tick = models.BigIntegerField()
    key = models.CharField(max_length=60)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tick", "device_id", "key"], name="one_observation_a_tick_and_key")
        ]
        indexes = [models.Index(fields=["device_id", "tick"], name="observations_of_a_device")]

    def __str__(self) -> str:
        return f"{self.device_id} {self.key}"


class SampleDay(models.Model):
    """The samples of one metric of one device on one past day: ``start`` is the first tick.

    ``values`` is packed by ``devices.tick_values``; ``day`` is counted since 1970, in UTC.
    """

    device_id = models.BigIntegerField()
    day = models.IntegerField()
    metric = models.CharField(max_length=40)
    start = models.BigIntegerField()
    values = models.BinaryField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["device_id", "day", "metric"], name="one_sample_day_a_metric"),
        ]
        indexes = [models.Index(fields=["day"], name="sample_days_by_age")]

    def __str__(self) -> str:
        return f"{self.device_id} {self.metric} on {self.day}"


class ObservationDay(models.Model):
    """The ticks of one past day in which a device showed one novelty key, packed as those of a sample."""

    device_id = models.BigIntegerField()
    day = models.IntegerField()
    key = models.CharField(max_length=60)
    start = models.BigIntegerField()
    values = models.BinaryField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["device_id", "day", "key"], name="one_observation_day_a_key"),
        ]
        indexes = [models.Index(fields=["day"], name="observation_days_by_age")]

    def __str__(self) -> str:
        return f"{self.device_id} {self.key} on {self.day}"


class DeviceLog(models.Model):
    """The last part of a device's log, sent after a failure or on request; redacted, only the newest few are kept."""

    device_id = models.BigIntegerField(db_index=True)
    at = models.DateTimeField()
    reason = models.CharField(max_length=7)
    text = models.TextField()

    class Meta:
        indexes = [models.Index(fields=["at"], name="logs_by_their_time")]

    def __str__(self) -> str:
        return f"{self.device_id} {self.reason}"


class Series(models.Model):
    """Values of one metric of one device at even steps, as one batch brought them: little-endian doubles.

    ``day`` is the day of the first value since 1970: data expires by whole days.
    """

    device_id = models.BigIntegerField()
    metric = models.CharField(max_length=40)
    day = models.IntegerField()
    start = models.BigIntegerField()
    step_ms = models.IntegerField()
    values = models.BinaryField()

    class Meta:
        indexes = [
            models.Index(fields=["device_id", "metric", "start"]),
            models.Index(fields=["day"]),
            models.Index(fields=["day", "id"], condition=Q(step_ms__lte=FINE_MS), name="fine_series"),
        ]

    def __str__(self) -> str:
        return f"{self.device_id} {self.metric} from {self.start}"


class BatchSeen(models.Model):
    """The last telemetry batch of a device, so that a retry counts once."""

    device_id = models.BigIntegerField(primary_key=True)
    sequence = models.BigIntegerField()

    def __str__(self) -> str:
        return f"{self.device_id} {self.sequence}"


class DriftState(models.Model):
    """The drift engine's arrays of one domain, as one blob with its own checksum."""

    domain_id = models.BigIntegerField(primary_key=True)
    version = models.IntegerField()
    updated_tick = models.BigIntegerField()
    blob = models.BinaryField()

    def __str__(self) -> str:
        return f"{self.domain_id} at {self.updated_tick}"
