"""Count what a child and its descendants use: processes, memory, and every byte in the scratch folder."""

import os
import stat
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ota.verifier_sandbox.bounds import DEPTH, ENTRIES, MEMORY, Bounds
from pki.kernel import privileges

_BLOCK = 512
_PAGE = os.sysconf("SC_PAGE_SIZE")


class OverBoundsError(Exception):
    """More is used than allowed, or it cannot be counted."""


@dataclass(frozen=True, slots=True)
class Watched:
    """Whose use is counted.

    Args:
        scratch: the folder.
        user: user id of the child, or 0 when it is the supervisor's own.
        given: devices and inodes of the artefacts, which the child has open and has not written.
        bounds: what may be used.
    """

    scratch: Path
    user: int
    given: Collection[tuple[int, int]]
    bounds: Bounds

    def demand_bounds(self, pids: Collection[int]) -> None:
        """Return when all is within bounds.

        Raises:
            OverBoundsError: it is not.
        """
        with privileges.seen_as(self.user):
            counted = _UsageCount(self)
            counted.walk()
            for pid in pids:
                counted.look_into(pid)
        if counted.memory > MEMORY:
            msg = "memory"
            raise OverBoundsError(msg)


class _UsageCount:
    """One count of one moment."""

    def __init__(self, watched: Watched) -> None:
        self._watched = watched
        self._seen = {*watched.given, *((-1, inode) for _, inode in watched.given)}
        self._bytes = 0
        self.memory = 0

    def walk(self) -> None:
        """Count what has a name in the scratch folder."""
        entries, waiting = 0, [(str(self._watched.scratch), 0)]
        while waiting:
            folder, depth = waiting.pop()
            try:
                with os.scandir(folder) as found:
                    for entry in found:
                        entries += 1
                        facts = entry.stat(follow_symlinks=False)
                        self._add((facts.st_dev, facts.st_ino), facts.st_blocks * _BLOCK)
                        if stat.S_ISDIR(facts.st_mode):
                            waiting.append((entry.path, depth + 1))
                        if entries > ENTRIES or depth > DEPTH:
                            msg = "scratch"
                            raise OverBoundsError(msg)
            except (FileNotFoundError, NotADirectoryError):
                continue  # gone since it was listed
            except OSError as error:  # a folder that its owner has shut, or a path too long to name
                msg = "scratch"
                raise OverBoundsError(msg) from error

    def look_into(self, pid: int) -> None:
        """Count a process's memory, and the files that it has open or mapped and that have no name any more."""
        process_folder = Path("/proc", str(pid))
        with suppress(FileNotFoundError, ProcessLookupError):
            try:
                resident, shared = (int(word) for word in (process_folder / "statm").read_text().split()[1:3])
                self.memory += (resident - shared) * _PAGE
                self._open_files(process_folder)
                self._mapped_files(process_folder)
            except PermissionError as error:
                if int((process_folder / "statm").read_text().split()[0]):  # one that is ending has no memory any more
                    msg = "scratch"
                    raise OverBoundsError(msg) from error

    def _open_files(self, process_folder: Path) -> None:
        for path in (process_folder / "fd").iterdir():
            with suppress(FileNotFoundError):
                facts = path.stat()
                if stat.S_ISREG(facts.st_mode) and facts.st_nlink == 0:
                    self._add((facts.st_dev, facts.st_ino), facts.st_blocks * _BLOCK)

    def _mapped_files(self, process_folder: Path) -> None:
        for line in (process_folder / "maps").read_text().splitlines():
            if line.endswith("(deleted)") and line.split()[1].endswith("s"):
                first, last = (int(part, 16) for part in line.split()[0].split("-"))
                self._add((-1, int(line.split()[4])), last - first)

    def _add(self, inode: tuple[int, int], size: int) -> None:
        if inode in self._seen:
            return
        self._seen.add(inode)
        self._bytes += size
        if self._bytes > self._watched.bounds.scratch:
            msg = "scratch"
            raise OverBoundsError(msg)


def living_descendants(pid: int) -> list[int]:
    """Return the ids of all living descendants of a process, children before theirs; zombies count."""
    descendants, waiting = [], [pid]
    while waiting:
        children = _children(waiting.pop())
        descendants += children
        waiting += children
    return descendants


def _children(pid: int) -> list[int]:
    children: list[int] = []
    with suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            try:
                children += [int(part) for part in (task / "children").read_text().split()]
            except FileNotFoundError:
                return _children_by_parent(pid)
    return children


def _children_by_parent(pid: int) -> list[int]:
    """Look at every process: kernels without CONFIG_PROC_CHILDREN list none."""
    children = []
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(FileNotFoundError, ProcessLookupError):
            if int((path / "stat").read_text().rpartition(")")[2].split()[1]) == pid:
                children.append(int(path.name))
    return children


def clear_folder(folder: Path) -> None:
    """Empty a folder whose owners have ended, at any depth and with any permissions."""
    number = 0
    while entries := list(folder.iterdir()):
        for entry in entries:
            if entry.is_symlink() or not entry.is_dir():
                entry.unlink()
                continue
            entry.chmod(0o700)
            for path in entry.iterdir():  # one level up, so that no path and no recursion grows long
                number += 1
                if path.is_dir() and not path.is_symlink():
                    path.chmod(0o700)
                path.rename(folder / f".cleared-{os.getpid()}-{number}")
            entry.rmdir()
