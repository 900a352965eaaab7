"""Confine the running process: what a taken-over door or verifier must not be able to reach.

Landlock (Linux 5.13, ``landlock(7)``) lets an ordinary process give up file access for good: after
``landlock`` only the listed places can be opened, by this process and its children, root included;
and a process outside the domain can no longer be traced. ``undumpable`` keeps other processes of the
same user from reading this one's memory.
"""

import ctypes
import os
import resource
import signal
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_RULE_PATH_BENEATH = 1
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REFER, _TRUNCATE, _IOCTL_DEVICE = 1 << 13, 1 << 14, 1 << 15
_BASE_RIGHTS = (1 << 13) - 1
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_FILE_RIGHTS = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEVICE
_libc = ctypes.CDLL(None, use_errno=True)


class _Ruleset(ctypes.Structure):
    _fields_ = (("handled_access_fs", ctypes.c_uint64),)


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


def landlock(read: Iterable[Path], write: Iterable[Path]) -> bool:
    """Keep this process, for good, from every file but those beneath the given places.

    Args:
        read: folders or files that may be read and executed; absent ones are passed over.
        write: folders that may be read and changed.

    Returns:
        False when this kernel has no Landlock; the caller says so in its log.

    Raises:
        OSError: the kernel has Landlock but refused; nothing was confined.
    """
    version = _abi()
    if version < 1:
        return False
    handled = _handled(version)
    ruleset = _call(_CREATE_RULESET, ctypes.byref(_Ruleset(handled)), 8, 0)
    try:
        for places, rights in ((read, _READ), (write, handled & ~_IOCTL_DEVICE)):
            for place in places:
                _allow(ruleset, place, rights & handled)
        _prctl(_PR_SET_NO_NEW_PRIVS, 1)
        _call(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
    return True


def undumpable() -> None:
    """Keep other processes of the same user from reading this one's memory or making it dump core."""
    _prctl(_PR_SET_DUMPABLE, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def die_with_parent() -> None:
    """Get SIGTERM when the process that started this one is gone, however it went."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def limits(*, cpu_s: int, address_space: int, file_size: int, processes: int = 64) -> None:
    """Bound what this process may use.

    Args:
        cpu_s: seconds of processor time, then the kernel ends the process.
        address_space: bytes of virtual memory.
        file_size: bytes of the largest file it may write.
        processes: processes of this user at most (root is not bound by it).
    """
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s))
    resource.setrlimit(resource.RLIMIT_AS, (address_space, address_space))
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NPROC, (processes, processes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _abi() -> int:
    return int(_libc.syscall(_CREATE_RULESET, None, 0, 1))


def _handled(version: int) -> int:
    rights = _BASE_RIGHTS
    for since, right in ((2, _REFER), (3, _TRUNCATE), (5, _IOCTL_DEVICE)):
        if version >= since:
            rights |= right
    return rights


def _allow(ruleset: int, place: Path, rights: int) -> None:
    try:
        descriptor = os.open(place, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if not place.is_dir():
            rights &= _FILE_RIGHTS
        rule = _PathBeneath(rights, descriptor)
        _call(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, ctypes.byref(rule), 0)
    finally:
        os.close(descriptor)


def _call(number: int, *arguments: object) -> int:
    result = int(_libc.syscall(number, *arguments))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def available() -> bool:
    """Say whether this kernel has Landlock."""
    return _abi() >= 1
