"""Names of lease holders: each process has a unique name that shows whether the process has ended."""

import os
from pathlib import Path

_PROC = Path("/proc")


def own_holder() -> str:
    """Return this process's name: boot id, PID namespace, process id and start time of the process."""
    return _name(os.getpid())


def is_holder_gone(holder: str) -> bool:
    """Return whether a holder has certainly ended.

    This is known only within the same boot of the same machine and the same PID namespace: a holder from before this
    machine started may be on another machine now. The leases of all other holders have to expire.
    """
    place, _, process = holder.rpartition("/")
    number = process.partition(":")[0]
    return place == _place() != "" and number.isdecimal() and _name(int(number)) != holder


def _name(process: int) -> str:
    return f"{_place()}/{process}:{_began(process)}"


def _place() -> str:
    """Return what processes that see one another have in common; empty if that is unknown."""
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip().replace("-", "")
        return f"{boot[:16]}.{(_PROC / 'self/ns/pid').stat().st_ino}"
    except OSError:
        return ""


def _began(process: int) -> str:
    """Return the start time of a process, in ticks since boot (proc(5), field 22); empty if there is none."""
    try:
        facts = (_PROC / str(process) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    ended = facts[0] in {"Z", "X"}
    return "" if ended else facts[19]
