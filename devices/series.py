"""Evenly sampled values of one metric, packed and unpacked. Pure.

On the wire a series is ``{"at": unix milliseconds of the first value, "step": milliseconds, "values": [numbers]}``; in
the database its values are little-endian doubles, eight bytes each.
"""

import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pki.kernel.errors import InvalidError

#: of one batch, over all of its series
MOST_VALUES = 4000
MOST_STEP_MS = 24 * 3600 * 1000
#: a device's clock may be wrong by so much; values farther away would never be found
OLDEST_MS, AHEAD_MS = 30 * 24 * 3600 * 1000, 3600 * 1000
DAY_MS = 24 * 3600 * 1000
_FIELDS = frozenset({"at", "step", "values"})


@dataclass(frozen=True, slots=True)
class Values:
    """One series.

    Args:
        start: of the first value, unix milliseconds.
        step: milliseconds between two values.
        packed: little-endian doubles.
        mean: of all values.
    """

    start: int
    step: int
    packed: bytes
    mean: float


def parse_series(given: object, now_ms: int) -> dict[str, Values]:
    """Return the checked series of a batch by metric.

    Raises:
        InvalidError: no map of series, too many values, a value that is no finite number, a time far away.
    """
    if not isinstance(given, Mapping):
        msg = "`series` must map metric names to {at, step, values}."
        raise InvalidError(msg)
    parsed = {str(name): _one(str(name)[:40], one, now_ms) for name, one in given.items()}
    if sum(len(value.packed) for value in parsed.values()) > 8 * MOST_VALUES:
        msg = f"A batch may have at most {MOST_VALUES} values."
        raise InvalidError(msg)
    return parsed


def unpack_series(start: int, step: int, packed: bytes) -> Iterator[tuple[int, float]]:
    """Yield (unix milliseconds, value)."""
    for index, value in enumerate(struct.unpack(f"<{len(packed) // 8}d", packed)):
        yield start + index * step, value


def thin_series(start: int, step: int, packed: bytes, wished_step: int) -> Values:
    """Return a series with means over a longer step; its first value represents the whole first step."""
    many = max(wished_step // step, 1)
    values = struct.unpack(f"<{len(packed) // 8}d", packed)
    groups = [values[place : place + many] for place in range(0, len(values), many)]
    means = [math.fsum(group) / len(group) for group in groups]
    return Values(start, step * many, struct.pack(f"<{len(means)}d", *means), math.fsum(values) / len(values))


def _one(name: str, given: object, now_ms: int) -> Values:
    if not isinstance(given, Mapping) or set(given) != _FIELDS or not isinstance(given["values"], list):
        msg = f"`{name}`: a series must be {{at, step, values}}."
        raise InvalidError(msg)
    start, step, values = given["at"], given["step"], given["values"]
    if type(start) is not int or not now_ms - OLDEST_MS <= start <= now_ms + AHEAD_MS:
        msg = f"`{name}`: `at` must be Unix time in milliseconds within the last 30 days. Set the device's clock."
        raise InvalidError(msg)
    if type(step) is not int or not 0 < step <= MOST_STEP_MS or not 0 < len(values) <= MOST_VALUES:
        msg = f"`{name}`: `step` must be 1 to {MOST_STEP_MS} ms, with 1 to {MOST_VALUES} values."
        raise InvalidError(msg)
    if (len(values) - 1) * step > DAY_MS:
        msg = f"`{name}`: a series may cover at most one day. Send the rest as another series."
        raise InvalidError(msg)
    total = math.nan
    try:
        packed, total = struct.pack(f"<{len(values)}d", *values), math.fsum(values)
    except (struct.error, TypeError, OverflowError, ValueError):
        packed = b""
    if not math.isfinite(total) or bool in set(map(type, values)):
        msg = f"`{name}`: the values must be finite numbers."
        raise InvalidError(msg)
    return Values(start, step, packed, total / len(values))
