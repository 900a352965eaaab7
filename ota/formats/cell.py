"""Shut this process in before it opens hostile bytes: limits, no network, no files but what it needs."""

import ctypes
import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from pki.kernel import confine

CPU_S = 20
ADDRESS_SPACE = 1 << 30
FILE_SIZE = 8 << 20
#: Processes and threads that a verifier may have beside those that its user has already.
PROCESSES = 16
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_SYSTEM = ("/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache", "/etc/ssl", "/dev/urandom")


def shut(read: Iterable[Path], scratch: Path, file_size: int = FILE_SIZE, cpu_s: int = CPU_S) -> list[str]:
    """Give up, for good, what judging needs not; return which measures this machine allowed.

    Args:
        read: the artefacts.
        scratch: the one folder that may be written.
        file_size: longest file that may be written there, in bytes.
        cpu_s: seconds of the processor.
    """
    measures = ["limits"]
    processes = _threads_of_user() + PROCESSES
    if _no_network():
        measures.append("network")
    system = [Path(place) for place in (*_SYSTEM, sys.prefix, sys.base_prefix)]
    if confine.landlock([*system, *read], [scratch, Path("/dev/null")]):
        measures.append("files")
    confine.undumpable()
    confine.limits(cpu_s=cpu_s, address_space=ADDRESS_SPACE, file_size=file_size, processes=processes)
    return measures


def _no_network() -> bool:
    """Move into a network namespace that holds nothing; False where the system does not allow it."""
    libc = ctypes.CDLL(None, use_errno=True)
    return bool(libc.unshare(_CLONE_NEWNET) == 0 or libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) == 0)


def _threads_of_user() -> int:
    """Count this user's threads: RLIMIT_NPROC is about all of them, not about this process's children."""
    mine, count = os.getuid(), 0
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if process.stat().st_uid == mine:
                count += len(list((process / "task").iterdir()))
    return count
