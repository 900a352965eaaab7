"""Block system calls permanently (seccomp(2)): no sockets, no kernel keys, no tracing, no mounts, no new namespaces.

The filter is a classic BPF program (``linux/seccomp.h``, ``linux/bpf_common.h``), made here from tables of numbers: one
column for x86-64, one for the generic table that arm64 and riscv64 share. Calls that change the owner, mode or times of
a file are answered with success and not run: Landlock does not look at them, and tools that unpack archives need them.
"""

import ctypes
import errno
import platform
import struct

_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _FILTER = 38, 22, 2
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_AND = 0x54
_KILL, _ERROR, _ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
_X32 = 0x40000000
#: machine name to AUDIT_ARCH and column of the tables
_MACHINES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1), "riscv64": (0xC00000F3, 1)}
#: CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET
_NAMESPACES = 0x7E020000
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_PTRACER = 1, 4, 0x59616D61
_AF_UNIX, _SOCK_STREAM, _SOCK_KIND = 1, 1, 0xF

_Pair = tuple[int | None, int | None]
# fmt: off
_REFUSED: dict[str, _Pair] = {
    # the network, and sockets of other processes on this machine
    "socket": (41, 198), "connect": (42, 203), "bind": (49, 200), "listen": (50, 201), "accept": (43, 202),
    "accept4": (288, 242), "sendmmsg": (307, 269),
    # other processes
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "process_madvise": (440, 440), "pidfd_getfd": (438, 438), "pidfd_open": (434, 434), "move_pages": (279, 239),
    "migrate_pages": (256, 238), "perf_event_open": (298, 241),
    # mounts, namespaces, rights
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "move_mount": (429, 429),
    "open_tree": (428, 428), "open_tree_attr": (467, 467), "fsopen": (430, 430), "fsconfig": (431, 431),
    "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442), "unshare": (272, 97), "setns": (308, 268),
    "setuid": (105, 146), "setgid": (106, 144), "setreuid": (113, 145), "setregid": (114, 143),
    "setresuid": (117, 147), "setresgid": (119, 149), "setgroups": (116, 159), "setfsuid": (122, 151),
    "setfsgid": (123, 152), "capset": (126, 91),
    # ways around the checks of paths and of this filter
    "open_by_handle_at": (304, 265), "name_to_handle_at": (303, 264), "truncate": (76, 45),
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    # memory that is not counted (the supervisor counts files in memory)
    "memfd_secret": (447, 447), "shmget": (29, 194), "shmat": (30, 196),
    "shmctl": (31, 195), "semget": (64, 190), "semop": (65, 193), "semctl": (66, 191), "semtimedop": (220, 192),
    "msgget": (68, 186), "msgsnd": (69, 189), "msgrcv": (70, 188), "msgctl": (71, 187), "mq_open": (240, 180),
    "mq_unlink": (241, 181),
    # the kernel itself
    "keyctl": (250, 219), "add_key": (248, 217), "request_key": (249, 218), "bpf": (321, 280),
    "userfaultfd": (323, 282), "kexec_load": (246, 104), "kexec_file_load": (320, 294), "init_module": (175, 105),
    "finit_module": (313, 273), "delete_module": (176, 106), "swapon": (167, 224), "swapoff": (168, 225),
    "reboot": (169, 142), "sethostname": (170, 161), "setdomainname": (171, 162), "acct": (163, 89),
    "quotactl": (179, 60), "quotactl_fd": (443, 443), "ioperm": (173, None), "iopl": (172, None),
    "modify_ldt": (154, None), "fanotify_init": (300, 262), "fanotify_mark": (301, 263), "syslog": (103, 116),
    "settimeofday": (164, 170), "clock_settime": (227, 112), "adjtimex": (159, 171), "clock_adjtime": (305, 266),
    "vhangup": (153, 58), "uselib": (134, None), "nfsservctl": (180, 42), "lookup_dcookie": (212, 18),
}
_SKIPPED: dict[str, _Pair] = {
    "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452), "chown": (92, None),
    "fchown": (93, 55), "lchown": (94, None), "fchownat": (260, 54), "utime": (132, None), "utimes": (235, None),
    "futimesat": (261, None), "utimensat": (280, 88), "setxattr": (188, 5), "lsetxattr": (189, 6),
    "fsetxattr": (190, 7), "setxattrat": (463, 463), "removexattr": (197, 14), "lremovexattr": (198, 15),
    "fremovexattr": (199, 16), "removexattrat": (466, 466),
}
_SIGNALS: dict[str, _Pair] = {
    "kill": (62, 129), "tkill": (200, 130), "tgkill": (234, 131), "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240), "pidfd_send_signal": (424, 424),
}
_GROUPS: dict[str, _Pair] = {"setsid": (112, 157), "setpgid": (109, 154)}
_CLONE, _CLONE3, _PRCTL, _PRLIMIT = (56, 220), (435, 435), (157, 167), (302, 261)
_SOCKETPAIR = (53, 199)
# fmt: on
_Step = tuple[int, int, int, int]


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def is_seccomp_supported() -> bool:
    """Return whether the system call numbers of this architecture are known."""
    return platform.machine() in _MACHINES


def refuse_calls(*, signals: bool, groups: bool) -> bool:
    """Block system calls that a verifier of untrusted files does not need, in this process and its children.

    Args:
        signals: refuse signals to other processes too; needed where nothing else keeps them in.
        groups: refuse to leave the process group, so that one signal ends all of them.

    Returns:
        False where the kernel or the machine has no filters; nothing was changed but ``no_new_privs``.
    """
    return is_seccomp_supported() and install_filter(filter_program(signals=signals, groups=groups))


def install_filter(steps: list[_Step]) -> bool:
    """Install a filter permanently, here and in all child processes; say whether the kernel accepted it."""
    code = b"".join(struct.pack("<HBBI", *step) for step in steps)
    kept = ctypes.create_string_buffer(code, len(code))
    program = _Program(len(steps), ctypes.cast(kept, ctypes.c_void_p))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return False
    return bool(libc.prctl(_PR_SET_SECCOMP, _FILTER, ctypes.byref(program), 0, 0) == 0)


def filter_program(*, signals: bool, groups: bool) -> list[_Step]:
    """Return the filter's steps: code, jump if true, jump if false, value; see ``refuse``."""
    architecture, column = _MACHINES[platform.machine()]
    refused = {**_REFUSED, **(_SIGNALS if signals else {}), **(_GROUPS if groups else {})}
    steps: list[_Step] = [(_LOAD, 0, 0, _ARCHITECTURE), (_EQUAL, 1, 0, architecture), _answer(_KILL)]
    steps += [(_LOAD, 0, 0, _NUMBER), (_AT_LEAST, 0, 1, _X32), _answer(_ERROR | errno.ENOSYS)]
    for table, answer in ((refused, _ERROR | errno.EPERM), (_SKIPPED, _ERROR)):
        for pair in table.values():
            steps += _on(pair[column], [_answer(answer)])
    # glibc falls back to clone, whose flags stand in a register.
    steps += _on(_CLONE3[column], [_answer(_ERROR | errno.ENOSYS)])
    steps += _on(_CLONE[column], _unless([(_ANY_BIT, 0, 1, _NAMESPACES)], argument=0))
    steps += _on(_PRLIMIT[column], _unless([(_EQUAL, 1, 0, 0)], argument=0))
    for option in (_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_PTRACER):
        steps += _on(
            _PRCTL[column], [*_argument(0), (_EQUAL, 0, 1, option), _answer(_ERROR | errno.EPERM)], reload=True
        )
    steps += _pairs(column)
    return [*steps, _answer(_ALLOW)]


def _pairs(column: int) -> list[_Step]:
    """Allow pairs of stream sockets, which reach nobody else; datagram sockets take an address with each message."""
    refused = _answer(_ERROR | errno.EPERM)
    family = [*_argument(0), (_EQUAL, 1, 0, _AF_UNIX), refused]
    kind = [*_argument(1), (_AND, 0, 0, _SOCK_KIND), (_EQUAL, 1, 0, _SOCK_STREAM), refused]
    return _on(_SOCKETPAIR[column], [*family, *kind, _answer(_ALLOW)])


def _on(number: int | None, then: list[_Step], *, reload: bool = False) -> list[_Step]:
    """Return steps that run others for one system call; the number is in the accumulator before and after."""
    if number is None:
        return []
    if reload:
        then = [*then, (_LOAD, 0, 0, _NUMBER)]
    return [(_EQUAL, 0, len(then), number), *then]


def _unless(test: list[_Step], argument: int) -> list[_Step]:
    """Return steps that refuse a call when a test of one argument does not jump over the refusal."""
    return [*_argument(argument), *test, _answer(_ERROR | errno.EPERM), _answer(_ALLOW)]


def _argument(position: int) -> list[_Step]:
    """Return the step that loads the lower half of an argument (these machines are little-endian)."""
    return [(_LOAD, 0, 0, _ARGUMENTS + 8 * position)]


def _answer(value: int) -> _Step:
    return (_RETURN, 0, 0, value)
