"""How a process shares the processor with others."""

import ctypes
import platform
import struct

#: number of the system call; where it is not known, nothing is asked for
_SCHED_SETATTR = {"x86_64": 314, "aarch64": 274}
#: of ``struct sched_attr`` (sched_setattr(2)): size, policy, flags, nice, priority, runtime, deadline, period
_ATTRIBUTES = struct.Struct("=IIQiIQQQ")
_ORDINARY = 0
SHORT_TURN_NS = 200_000


def ask_for_short_turns(nanoseconds: int = SHORT_TURN_NS) -> bool:
    """Ask the kernel for turns that are short and come soon (Linux 6.12: the slice of EEVDF); return whether it agrees.

    A listener works for moments and waits. Beside processes that compute it would otherwise wait for the end of their
    turns, 3 ms each, whenever it has something to do. Its share of the processor stays the same.

    Args:
        nanoseconds: of a turn, from 100,000 to 100,000,000.
    """
    number = _SCHED_SETATTR.get(platform.machine())
    if number is None or platform.system() != "Linux":
        return False
    given = _ATTRIBUTES.pack(_ATTRIBUTES.size, _ORDINARY, 0, 0, 0, nanoseconds, 0, 0)
    return bool(ctypes.CDLL(None, use_errno=True).syscall(number, 0, given, 0) == 0)
