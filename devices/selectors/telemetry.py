"""Stored telemetry of devices: ticks, series, logs, networks."""

from collections import defaultdict
from dataclasses import dataclass

from django.conf import settings
from django.db.models import QuerySet

from devices.metrics import NAME
from devices.models import Device, DeviceLog, Sample, SampleDay, Series, SourceNetwork
from devices.series import DAY_MS, unpack_series
from devices.tick_values import unpack_ticks
from pki.kernel import clock
from pki.kernel.actor import Actor
from pki.kernel.filters import setting_field, word_field
from pki.kernel.permissions import Action, require_action

MOST_VALUES = 10_000
MOST_TICKS = 24 * 14
DAY_S = 86_400
#: largest time that is read, in unix milliseconds; far beyond any real time
MOST_MS = 10**15 - 1


@dataclass(frozen=True, slots=True)
class SeriesFilter:
    """The filter of a device's series."""

    metric: str = word_field("The name of one metric.", NAME.pattern, "Series.metric")
    since: str = setting_field(
        "Start of the period, in Unix milliseconds.",
        "unix milliseconds",
        (0, MOST_MS),
        "a day before `until`",
        "Series.start",
    )
    until: str = setting_field(
        "End of the period (exclusive), in Unix milliseconds.", "unix milliseconds", (0, MOST_MS), "now", "Series.start"
    )
    limit: str = setting_field(
        "Maximum number of values to return; the newest values beyond it are omitted.",
        "values",
        (1, MOST_VALUES),
        "1000",
        "Series.values",
    )


@dataclass(frozen=True, slots=True)
class BehaviourFilter:
    """The period of a device's behaviour to return."""

    ticks: str = setting_field("Period to look back over, in ticks.", "ticks", (1, MOST_TICKS), "24", "Sample.tick")


def series_asked(device: Device, wanted: SeriesFilter) -> list[tuple[int, float]]:
    """Return the values of a device's series that match: (unix milliseconds, value), oldest first."""
    until = int(wanted.until or clock.now().timestamp() * 1000 + 1)
    since = int(wanted.since or max(until - DAY_MS, 0))
    return read_series(device, wanted.metric, since, until, int(wanted.limit))


def read_series(device: Device, metric: str, since_ms: int, until_ms: int, most: int) -> list[tuple[int, float]]:
    """Return the values of a metric that a device sent as series: (unix milliseconds, value), oldest first.

    Args:
        device: whose.
        metric: its name.
        since_ms: from here on.
        until_ms: up to but not including.
        most: values at most; the newest are left out.
    """
    rows = Series.objects.filter(device_id=device.pk, metric=metric, start__lt=until_ms, start__gte=since_ms - DAY_MS)
    points: list[tuple[int, float]] = []
    for start, step, values in rows.order_by("start", "id").values_list("start", "step_ms", "values").iterator():
        points += [point for point in unpack_series(start, step, bytes(values)) if since_ms <= point[0] < until_ms]
        if len(points) >= most:
            break
    return sorted(points)[:most]


def read_behaviour(device: Device, ticks: int) -> dict[str, list[tuple[int, float]]]:
    """Return a device's values in the last ``ticks`` ticks: metric -> (tick, value), oldest first."""
    since, by_metric = clock.unix() // settings.FLEET_DRIFT_TICK_S - ticks, defaultdict[str, dict[int, float]](dict)
    # Rows first: what is packed between the two statements is then found twice, and not missed.
    recent = Sample.objects.filter(device_id=device.pk, tick__gt=since)
    rows = list(recent.values_list("metric", "tick", "value"))
    first_day = since * settings.FLEET_DRIFT_TICK_S // DAY_S
    days = SampleDay.objects.filter(device_id=device.pk, day__gte=first_day)
    for metric, start, values in days.values_list("metric", "start", "values"):
        by_metric[metric] |= {tick: value for tick, value in unpack_ticks(start, bytes(values)).items() if tick > since}
    for metric, tick, value in rows:
        by_metric[metric][tick] = value
    return {metric: sorted(values.items()) for metric, values in sorted(by_metric.items()) if values}


def device_logs(*, actor: Actor, device: Device) -> QuerySet[DeviceLog]:
    """Return the logs that a device has sent, newest first.

    Raises:
        DeniedError: logs may contain personal data; only operators and security officers read them.
    """
    require_action(actor, Action.READ_DEVICE_LOGS)
    return DeviceLog.objects.filter(device_id=device.pk).order_by("-id")


def source_networks(device: Device) -> QuerySet[SourceNetwork]:
    """Return the source networks of a device, the latest first."""
    return SourceNetwork.objects.filter(device_id=device.pk).order_by("-last_tick", "-id")
