"""Values of one metric in the ticks of a day, packed and unpacked without loss. Pure.

Two characters come first: the format of a value and of an offset, as ``struct`` names them. Then the values,
little-endian, then for each value its distance in ticks from the first one; where no tick is missing there are no
offsets, and their format is ``-``. Whole numbers take one, two or four bytes, all others are doubles.
"""

import struct
from collections.abc import Mapping

_CONSECUTIVE = "-"
_WHOLE = (("B", 1 << 8), ("H", 1 << 16), ("I", 1 << 32))


def pack_ticks(values: Mapping[int, float]) -> tuple[int, bytes]:
    """Return the first tick and the packed values.

    Args:
        values: tick -> finite value, at least one.
    """
    ticks = sorted(values)
    first, count = ticks[0], len(ticks)
    numbers = [values[tick] for tick in ticks]
    of_value = "d"
    if all(number.is_integer() and number >= 0 for number in numbers):
        of_value = _narrowest(int(max(numbers)))
        numbers = numbers if of_value == "d" else [int(number) for number in numbers]
    packed = struct.pack(f"<{count}{of_value}", *numbers)
    if ticks[-1] - first == count - 1:
        return first, f"{of_value}{_CONSECUTIVE}".encode() + packed
    offsets = [tick - first for tick in ticks]
    of_offset = _narrowest(offsets[-1])
    return first, f"{of_value}{of_offset}".encode() + packed + struct.pack(f"<{count}{of_offset}", *offsets)


def unpack_ticks(first: int, packed: bytes) -> dict[int, float]:
    """Return tick -> value, oldest first.

    Args:
        first: the first tick.
        packed: what ``pack_ticks`` made.
    """
    of_value, of_offset = packed[:1].decode(), packed[1:2].decode()
    if of_offset == _CONSECUTIVE:
        count = (len(packed) - 2) // struct.calcsize(f"<{of_value}")
        offsets: tuple[int, ...] | range = range(count)
    else:
        count = (len(packed) - 2) // struct.calcsize(f"<{of_value}{of_offset}")
        offsets = struct.unpack_from(f"<{count}{of_offset}", packed, 2 + count * struct.calcsize(f"<{of_value}"))
    numbers = struct.unpack_from(f"<{count}{of_value}", packed, 2)
    return {first + offset: float(number) for offset, number in zip(offsets, numbers, strict=True)}


def _narrowest(greatest: int) -> str:
    return next((code for code, bound in _WHOLE if greatest < bound), "d")
