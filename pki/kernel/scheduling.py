"""CPU scheduling of a process."""

import ctypes
import os
import platform
import struct

#: number of the system call; where it is not known, nothing is asked for
_SCHED_SETATTR = {"x86_64": 314, "aarch64": 274}
#: of ``struct sched_attr`` (sched_setattr(2)): size, policy, flags, nice, priority, runtime, deadline, period
_ATTRIBUTES = struct.Struct("=IIQiIQQQ")
SHORT_TURN_NS = 200_000


def ask_for_short_turns(nanoseconds: int = SHORT_TURN_NS) -> bool:
    """Ask the kernel for turns that are short and come soon (Linux 6.12: the slice of EEVDF); return whether it agrees.

    A listener works for moments and waits. Beside processes that compute it would otherwise wait for the end of their
    turns, 3 ms each, whenever it has something to do. Its share of the processor stays the same; whoever has chosen
    another policy than the ordinary one for it keeps that.

    Args:
        nanoseconds: of a turn, from 100,000 to 100,000,000.
    """
    number = _SCHED_SETATTR.get(platform.machine())
    if number is None or platform.system() != "Linux" or os.sched_getscheduler(0) != os.SCHED_OTHER:
        return False
    niceness = os.getpriority(os.PRIO_PROCESS, 0)
    given = _ATTRIBUTES.pack(_ATTRIBUTES.size, os.SCHED_OTHER, 0, niceness, 0, nanoseconds, 0, 0)
    return bool(ctypes.CDLL(None, use_errno=True).syscall(number, 0, given, 0) == 0)
