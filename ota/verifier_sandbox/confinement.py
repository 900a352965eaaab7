"""Shut a process in before it opens hostile bytes, and say by which mechanism each promised property holds."""

import os
import signal
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from ota.verifier_sandbox.bounds import ADDRESS_SPACE, PROCESSES, Bounds
from ota.verifier_sandbox.request import SandboxRequest
from pki.kernel import confine, privileges, seccomp

_SYSTEM = ("/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache", "/etc/ssl", "/dev/urandom")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the supervisor has prepared.

    Args:
        isolated: the child begins namespaces of its own.
        user: user id that the child becomes; 0 when the supervisor is no root and the child keeps its own.
        processes: limit on processes of the child's user.
    """

    isolated: bool
    user: int
    processes: int


@dataclass(slots=True)
class Confinement:
    """What holds for a child.

    Args:
        holds: property to mechanism.
        missing: a sentence for each promised property that does not hold.
    """

    holds: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)

    def note(self, what: str, mechanisms: Iterable[str], otherwise: str) -> None:
        """Keep the mechanisms of a property, or that there are none."""
        text = ", ".join(mechanism for mechanism in mechanisms if mechanism)
        if text:
            self.holds[what] = text
        else:
            self.missing.append(f"{what}: {otherwise}")


def prepare_supervisor(scratch: Path) -> Surroundings:
    """Prepare the supervisor before it forks: orphans come to it, the next child begins new namespaces.

    Raises:
        OSError: the scratch folder cannot be given to the child's user.
    """
    privileges.adopt_orphans()
    user = privileges.spare_user() if os.geteuid() == 0 else 0
    if user:
        os.chown(scratch, user, user)
    processes = _threads_of(user or os.getuid()) + PROCESSES
    return Surroundings(privileges.own_namespaces(), user, processes)


def confine_child(around: Surroundings, request: SandboxRequest, bounds: Bounds) -> Confinement:
    """Drop permanently every right that verification does not need.

    Args:
        around: what the supervisor has prepared.
        request: which artefacts may be read, and which folder may be written.
        bounds: what may be used.
    """
    confinement = Confinement()
    if around.isolated:
        privileges.own_processes()
    _give_up_rights(around)
    confine.die_with_parent(signal.SIGKILL)
    confine.set_limits(
        cpu_s=bounds.cpu_s,
        address_space=ADDRESS_SPACE,
        file_size=bounds.file_size,
        processes=around.processes,
    )
    read = [Path(path) for path in (*_SYSTEM, sys.prefix, sys.base_prefix)]
    read += [request.given(name) for name in request.files]
    locked = confine.landlock(read, [request.scratch, Path("/dev/null")], network=False)
    confine.allow_dumps()  # the last change of rights has taken it away, and the supervisor counts what is open
    version = confine.landlock_version()
    alone = around.isolated or bool(around.user) or version >= confine.SCOPES_SINCE
    filtered = seccomp.refuse_calls(signals=not alone, groups=not around.isolated)
    _note(confinement, around, version if locked else 0, filtered=filtered)
    return confinement


def _give_up_rights(around: Surroundings) -> None:
    if around.user:
        with suppress(OSError):  # what does not hold then is said by the user that it still is
            privileges.become_user(around.user)
    with suppress(OSError):
        if not around.user:
            privileges.drop_every_capability()


def _note(confinement: Confinement, around: Surroundings, version: int, *, filtered: bool) -> None:
    """Note which mechanism holds each property; without seccomp, local sockets and modes of files stay in reach."""
    spaces, filters = "own namespaces" if around.isolated else "", "seccomp" if filtered else ""
    no_filter = "the kernel or this processor has no system call filter (seccomp) that Muster can use"
    tcp = "Landlock" if version >= confine.NETWORK_SINCE else ""
    confinement.note("network", [filters, spaces, tcp] if filtered else [], no_filter)
    confinement.note(
        "files", ["Landlock, seccomp"] if version and filtered else [], no_filter if version else _NO_LANDLOCK
    )
    groups = "subreaper and one process group (seccomp)" if filtered else ""
    confinement.note("descendants", [spaces or groups], no_filter)
    scopes = "Landlock" if version >= confine.SCOPES_SINCE else ""
    user = "a user of its own" if around.user and os.getuid() == around.user else ""
    confinement.note("signals", [spaces, user, scopes, filters], no_filter)
    bound = "" if os.getuid() == 0 else ", ".join(("limits", user) if user else ("limits",))
    confinement.note("resources", [bound], ROOT)
    confinement.note("scratch", ["counted by the supervisor"], "")


_NO_LANDLOCK = "the kernel has no Landlock, or it is switched off (`lsm=` at boot, Linux 5.13 or later)"
ROOT = (
    "it runs as root and cannot become another user, so the process limit does not apply; run the server as an "
    "ordinary user, or give it CAP_SETUID, CAP_SETGID and CAP_CHOWN"
)


def _threads_of(user: int) -> int:
    """Count a user's threads: RLIMIT_NPROC is about all of them, not about one process's children."""
    count = 0
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if process.stat().st_uid == user:
                count += len(list((process / "task").iterdir()))
    return count
