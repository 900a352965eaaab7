"""What the drift engine expects of a device now, in the metric's own unit. Reads only.

Apart from ``devices.selectors``, because it needs NumPy and the device gateway does not.
"""

import io
import struct
from dataclasses import dataclass

import numpy as np

from devices.drift.engine import MEAN_DEVIATION_TO_SIGMA, VERSION, Shard
from devices.drift.metrics import METRICS, least_scales, restore_unit
from devices.models import Device, DriftState

#: half the width of the range, in robust scales (sigma); and the reports that are needed to show one
SCALES, LEAST_REPORTS = 3.0, 3


@dataclass(frozen=True, slots=True)
class Band:
    """The usual range of a metric: its level, and three robust scales to both sides."""

    low: float
    level: float
    high: float


def usual_band(device: Device, metric: str) -> Band | None:
    """Return the usual range of one metric of one device, or None while the engine has too few reports of it."""
    state = DriftState.objects.filter(domain_id=device.domain_id, version=VERSION).first()
    column = next((index for index, entry in enumerate(METRICS) if entry.name == metric), None)
    if state is None or column is None:
        return None
    stream = io.BytesIO(bytes(state.blob))
    (length,) = struct.unpack(">I", stream.read(4))
    stream.seek(length, io.SEEK_CUR)
    shard = Shard.loads(stream.read())
    row = int(np.searchsorted(shard.device, device.pk))
    if row >= shard.device.size or shard.device[row] != device.pk or shard.reports[row] < LEAST_REPORTS:
        return None
    level = float(shard.baseline.level[row, column])
    mean_deviation = float(shard.baseline.mean_deviation[row, column])
    wide = SCALES * max(MEAN_DEVIATION_TO_SIGMA * mean_deviation, float(least_scales()[column]))
    kind = METRICS[column].kind
    low, middle, high = (restore_unit(level + way * wide, kind) for way in (-1, 0, 1))
    return Band(max(low, 0.0) if kind != "signed" else low, middle, high)
