"""Drop rights permanently: capabilities, the user id, namespaces of one's own (capabilities(7), namespaces(7))."""

import ctypes
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_NEWNS, _NEWUSER, _NEWIPC, _NEWPID, _NEWNET = (
    0x00020000, 0x10000000, 0x08000000, 0x20000000, 0x40000000
)  # fmt: skip
#: MS_REC | MS_PRIVATE; MS_NOSUID | MS_NODEV | MS_NOEXEC
_PRIVATE, _PLAIN = 1 << 14 | 1 << 18, 1 << 1 | 1 << 2 | 1 << 3
_PR_SET_KEEPCAPS, _PR_CAPBSET_DROP, _PR_SET_CHILD_SUBREAPER, _PR_CAP_AMBIENT, _RAISE = 8, 24, 36, 47, 2
_VERSION_3, _MOST = 0x20080522, 63
#: To read files that only root may enter, and to hold a file still (rauc does, fcntl(2) F_SETLEASE).
_OVERRIDE, _READ_SEARCH, _LEASE = 1, 2, 28
#: Users that nothing else has, one a process id: below 2^31, above the ranges of systemd and of containers.
_FIRST_USER, _NOBODY = 2_000_000_000, 65534
_libc = ctypes.CDLL(None, use_errno=True)


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Capabilities(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def own_namespaces() -> bool:
    """Let the next child begin namespaces of process ids, network and System V memory; the network's is ours at once.

    The child calls ``own_processes`` first. Whether the system allows both is tried in a process that ends.

    Returns:
        False where it does not; nothing was changed then.
    """
    # For root a user namespace would leave no other user to become.
    flags = _NEWPID | _NEWIPC | (0 if os.geteuid() == 0 else _NEWUSER)
    return _allowed(flags) and bool(_libc.unshare(flags | _NEWNET) == 0)


def own_processes() -> None:
    """Show, as the first process of a namespace, this namespace's processes in ``/proc``, and no others.

    Raises:
        OSError: the system does not allow it.
    """
    _check(_libc.unshare(_NEWNS))
    _check(_libc.mount(b"none", b"/", None, _PRIVATE, None))
    _check(_libc.mount(b"proc", b"/proc", b"proc", _PLAIN, None))


def _allowed(flags: int) -> bool:
    return _tried(lambda: _libc.unshare(flags) == 0 and _tried(own_processes))


def _tried(act: Callable[[], object]) -> bool:
    """Return whether an operation succeeds, in a child process that ends with it."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = int(act() is False)
        finally:
            os._exit(code)
    return os.waitpid(child, 0)[1] == 0


def adopt_orphans() -> None:
    """Become the parent of all descendants whose own parents end (prctl(2), PR_SET_CHILD_SUBREAPER)."""
    if _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise _error()


def spare_user() -> int:
    """Return a user id that no other process has, for a child of this process; that of `nobody` where ids are few."""
    user = _FIRST_USER + os.getpid()
    try:
        lines = Path("/proc/self/uid_map").read_text().splitlines()
    except OSError:
        return _NOBODY
    ranges = [(int(first), int(count)) for first, _, count in (line.split() for line in lines)]
    return user if any(first <= user < first + count for first, count in ranges) else _NOBODY


def become_user(user: int) -> None:
    """Change to another user and group permanently, keeping of root's rights CAP_DAC_READ_SEARCH and CAP_LEASE.

    A container's root may lack the first one, and keeps CAP_DAC_OVERRIDE then. Interpreter and artefacts may lie in
    folders that only root may enter; Landlock says which of them can be read.

    Raises:
        OSError: this root may not change its user.
    """
    kept = _useful()
    _shrink_bounding(kept)
    os.setgroups([])
    os.setresgid(user, user, user)
    if _libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0:
        raise _error()
    os.setresuid(user, user, user)
    _keep(_mask(kept))
    for number in kept:  # refused where it is not permitted: then programs that it starts lack it
        _libc.prctl(_PR_CAP_AMBIENT, _RAISE, number, 0, 0)


@contextmanager
def seen_as(user: int) -> Iterator[None]:
    """Look, as root, with the rights of a child that has used ``become_user``, CAP_SYS_PTRACE or not.

    Args:
        user: the child's; 0 changes nothing.
    """
    if not user:
        yield
        return
    os.setegid(user)
    os.seteuid(user)
    try:
        _effective(_mask(_useful()))  # who looks into a process needs the capabilities that it has
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


def drop_every_capability() -> None:
    """Drop every capability, including those of a user namespace."""
    _shrink_bounding(set())
    _keep(0)


def _useful() -> set[int]:
    """Return which of root's capabilities a child of another user keeps."""
    header, current = _Header(_VERSION_3, 0), (_Capabilities * 2)()
    _check(_libc.capget(ctypes.byref(header), ctypes.byref(current)))
    permitted = {number for number in (_OVERRIDE, _READ_SEARCH, _LEASE) if current[0].permitted >> number & 1}
    return permitted - ({_OVERRIDE} if _READ_SEARCH in permitted else set())


def _mask(numbers: set[int]) -> int:
    return sum(1 << number for number in numbers)


def _shrink_bounding(kept: set[int]) -> None:
    for number in range(_MOST + 1):
        if number not in kept:
            _libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0)  # refused without CAP_SETPCAP: then there is little to drop


def _keep(mask: int) -> None:
    """Restrict the permitted capabilities to a mask."""
    header, current, kept = _Header(_VERSION_3, 0), (_Capabilities * 2)(), (_Capabilities * 2)()
    _check(_libc.capget(ctypes.byref(header), ctypes.byref(current)))
    left = current[0].permitted & mask
    kept[0].permitted = kept[0].effective = kept[0].inheritable = left
    _check(_libc.capset(ctypes.byref(header), ctypes.byref(kept)))


def _effective(mask: int) -> None:
    """Activate the permitted capabilities of a mask; the others stay permitted."""
    header, kept = _Header(_VERSION_3, 0), (_Capabilities * 2)()
    _check(_libc.capget(ctypes.byref(header), ctypes.byref(kept)))
    kept[0].effective, kept[1].effective = kept[0].permitted & mask, 0
    _check(_libc.capset(ctypes.byref(header), ctypes.byref(kept)))


def _check(result: int) -> None:
    if result != 0:
        raise _error()


def _error() -> OSError:
    code = ctypes.get_errno()
    return OSError(code, os.strerror(code))
