"""Who holds a lease: a process by a name that no other one ever has, so that one can tell whether it is gone."""

import os
from pathlib import Path

_PROC = Path("/proc")


def mine() -> str:
    """Return this process's name: start of the machine, PID namespace, process id and when that began."""
    return _name(os.getpid())


def gone(holder: str) -> bool:
    """Say whether a holder has ended for certain.

    That can be told only from the same start of the same machine and inside the same PID namespace: whatever ran before
    this machine started may be another machine's by now. Everybody else's lease is waited for.
    """
    place, _, process = holder.rpartition("/")
    number = process.partition(":")[0]
    return place == _place() != "" and number.isdecimal() and _name(int(number)) != holder


def _name(process: int) -> str:
    return f"{_place()}/{process}:{_began(process)}"


def _place() -> str:
    """Return what processes that see one another have in common, or nothing where that cannot be told."""
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip().replace("-", "")
        return f"{boot[:16]}.{(_PROC / 'self/ns/pid').stat().st_ino}"
    except OSError:
        return ""


def _began(process: int) -> str:
    """Return when a process began, in ticks since the machine's start (proc(5), field 22); nothing for none."""
    try:
        facts = (_PROC / str(process) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    ended = facts[0] in {"Z", "X"}
    return "" if ended else facts[19]
