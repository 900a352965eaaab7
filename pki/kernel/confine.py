"""Confine the running process, so that a compromised listener or verifier reaches nothing else.

Landlock (Linux 5.13, ``landlock(7)``) lets an ordinary process give up file access for good: after
``landlock`` only the listed places can be opened, by this process and its children, root included;
and a process outside the domain can no longer be traced. ``forbid_dumps`` keeps other processes of the
same user from reading this one's memory.
"""

import ctypes
import os
import resource
import signal
from collections.abc import Iterable
from pathlib import Path

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_RULE_PATH_BENEATH = 1
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_MAKE_CHARACTER_DEVICE, _MAKE_BLOCK_DEVICE = 1 << 6, 1 << 11
_REFER, _TRUNCATE, _IOCTL_DEVICE = 1 << 13, 1 << 14, 1 << 15
_BASE_RIGHTS = (1 << 13) - 1
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_FILE_RIGHTS = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEVICE
_libc = ctypes.CDLL(None, use_errno=True)


#: No abstract Unix sockets and no signals to processes outside (since version 6).
_SCOPES = 0b11
#: Bind and connect of TCP.
_TCP = 0b11
NETWORK_SINCE, SCOPES_SINCE = 4, 6
_CAPABILITY_VERSION, _KEPT_CAPABILITIES = 0x20080522, 1 << 1  # version 3; CAP_DAC_OVERRIDE


class _Ruleset(ctypes.Structure):
    _fields_ = (
        ("handled_access_fs", ctypes.c_uint64),
        ("handled_access_net", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    )


class _CapabilityHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _CapabilityData(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


def landlock(read: Iterable[Path], write: Iterable[Path], *, network: bool = True) -> bool:
    """Restrict this process permanently to the files beneath the given paths.

    Args:
        read: folders or files that may be read and executed; absent ones are passed over.
        write: folders that may be read and changed.
        network: False refuses TCP as well, where the kernel can (version 4).

    Returns:
        False when this kernel has no Landlock; the caller says so in its log.

    Raises:
        OSError: the kernel has Landlock but refused; nothing was confined.
    """
    version = landlock_version()
    if version < 1:
        return False
    handled = _handled(version)
    # A device file made beneath a place that may be written would open the disk below every file.
    written = handled & ~(_IOCTL_DEVICE | _MAKE_CHARACTER_DEVICE | _MAKE_BLOCK_DEVICE)
    ruleset = _ruleset(version, handled, network=network)
    try:
        for places, rights in ((read, _READ), (write, written)):
            for path in places:
                _allow(ruleset, path, rights & handled)
        _prctl(_PR_SET_NO_NEW_PRIVS, 1)
        _call(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
    return True


def drop_capabilities() -> None:
    """Drop root's rights beyond its own files: modules, raw devices, mounts, other processes.

    CAP_DAC_OVERRIDE stays, since root may serve from a folder of another user; Landlock bounds it.
    """
    kept = (_CapabilityData * 2)()
    current = (_CapabilityData * 2)()
    header = _CapabilityHeader(_CAPABILITY_VERSION, 0)
    _check(_libc.capget(ctypes.byref(header), ctypes.byref(current)))
    kept[0].permitted = kept[0].effective = current[0].permitted & _KEPT_CAPABILITIES
    _check(_libc.capset(ctypes.byref(header), ctypes.byref(kept)))


def forbid_dumps() -> None:
    """Keep other processes of the same user from reading this one's memory or making it dump core."""
    _prctl(_PR_SET_DUMPABLE, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def die_with_parent(number: int = signal.SIGTERM) -> None:
    """Get a signal when the process that started this one ends, for any reason."""
    _prctl(_PR_SET_PDEATHSIG, number)


def allow_dumps() -> None:
    """Let the processes that this one starts look at its open files, also after it changed its user."""
    _prctl(_PR_SET_DUMPABLE, 1)


def set_limits(*, cpu_s: int, address_space: int, file_size: int, processes: int = 64, files: int = 256) -> None:
    """Limit the resources of this process.

    Args:
        cpu_s: seconds of processor time, then the kernel ends the process.
        address_space: bytes of virtual memory.
        file_size: bytes of the largest file it may write.
        processes: processes of this user at most (root is not bound by it).
        files: open files of one process.
    """
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s))
    resource.setrlimit(resource.RLIMIT_AS, (address_space, address_space))
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))
    for kind, wanted in ((resource.RLIMIT_NPROC, processes), (resource.RLIMIT_NOFILE, files)):
        most = min([wanted, *(value for value in resource.getrlimit(kind) if value != resource.RLIM_INFINITY)])
        resource.setrlimit(kind, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def landlock_version() -> int:
    """Return the version of the kernel's Landlock, below 1 where there is none."""
    return int(_libc.syscall(_CREATE_RULESET, None, 0, 1))


def _ruleset(version: int, handled: int, *, network: bool) -> int:
    fields, size = _Ruleset(handled), 8
    if version >= NETWORK_SINCE and not network:
        fields.handled_access_net, size = _TCP, 16
    if version >= SCOPES_SINCE:
        fields.scoped, size = _SCOPES, ctypes.sizeof(_Ruleset)
    return _call(_CREATE_RULESET, ctypes.byref(fields), size, 0)


def _handled(version: int) -> int:
    rights = _BASE_RIGHTS
    for since, right in ((2, _REFER), (3, _TRUNCATE), (5, _IOCTL_DEVICE)):
        if version >= since:
            rights |= right
    return rights


def _allow(ruleset: int, path: Path, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if not path.is_dir():
            rights &= _FILE_RIGHTS
        rule = _PathBeneath(rights, descriptor)
        _call(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, ctypes.byref(rule), 0)
    finally:
        os.close(descriptor)


def _call(number: int, *arguments: object) -> int:
    return _check(_libc.syscall(number, *arguments))


def _prctl(option: int, value: int) -> None:
    _check(_libc.prctl(option, value, 0, 0, 0))


def _check(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return int(result)


def has_landlock() -> bool:
    """Return whether this kernel has Landlock."""
    return landlock_version() >= 1
