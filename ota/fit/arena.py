"""How TensorFlow Lite Micro places activations: the greedy planner's rule, without the interpreter. Pure.

Source: ``GreedyMemoryPlanner`` (``tensorflow/lite/micro/memory_planner/greedy_memory_planner.cc``).
"""

from collections.abc import Iterable
from dataclasses import dataclass

#: of each buffer in the arena, in bytes (``MicroArenaBufferAlignment`` in ``micro_arena_constants.h``)
ALIGNMENT = 16


@dataclass(frozen=True, slots=True)
class Buffer:
    """One tensor's memory.

    Args:
        index: of the tensor; breaks ties between equal sizes.
        size: bytes, not yet aligned.
        first: execution step at which it is first written.
        last: execution step at which it is last read or written.
    """

    index: int
    size: int
    first: int
    last: int


def align_size(size: int) -> int:
    """Return a size rounded up to the arena's alignment."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def planned_head(buffers: Iterable[Buffer]) -> int:
    """Return the bytes of the planned part of the arena.

    Largest first, ties by descending tensor index; each at the lowest gap between already placed
    buffers that live at the same time.
    """
    placed: list[tuple[int, int, Buffer]] = []
    for buffer in sorted(buffers, key=lambda one: (-align_size(one.size), -one.index)):
        size = align_size(buffer.size)
        if size == 0:
            continue
        offset = 0
        for start, end, other in placed:
            if other.last < buffer.first or buffer.last < other.first:
                continue
            if offset + size <= start:
                break
            offset = max(offset, end)
        placed.append((offset, offset + size, buffer))
        placed.sort(key=lambda one: one[:2])
    return max((end for _start, end, _buffer in placed), default=0)
