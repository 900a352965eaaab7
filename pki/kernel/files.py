"""Files that are written atomically, and append-only files."""

import errno
import os
import stat
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO


def write_private(path: Path, data: bytes) -> None:
    """Write a file that only its owner may read, atomically and synced."""
    _replace(path, data, 0o600)


def write_public(path: Path, data: bytes) -> None:
    """Write a file that anyone may read, atomically and synced."""
    _replace(path, data, 0o644)


def remove_file(path: Path) -> None:
    """Remove a file, if it exists, and sync its folder."""
    path.unlink(missing_ok=True)
    _sync_folder(path.parent)


def open_plain(path: Path) -> BinaryIO:
    """Open a file that an attacker may have made: follow no link, wait for no pipe.

    Raises:
        OSError: it is not there, or no plain file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "It is not a regular file", str(path))
    return os.fdopen(descriptor, "rb")


def private_folder(path: Path) -> Path:
    """Ensure that a folder exists and that only its owner may enter it."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.chmod(0o700)
    return path


class Growing:
    """An append-only file, kept open by this process; several processes may write to it.

    Args:
        path: of the file; made when the first line comes.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1
        self._lock = threading.Lock()

    def add(self, line: bytes) -> None:
        """Add one line; ``sync`` brings it to the disk.

        A short write is completed; a line that a crash has cut is closed first, so that it spoils no other.
        A line may not contain a line break.
        """
        data = line + b"\n"
        with self._lock:
            self._open()
            if _cut(self._descriptor):
                data = b"\n" + data
            while data:
                data = data[os.write(self._descriptor, data) :]

    def sync(self) -> None:
        """Sync all appended lines to the disk."""
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def _open(self) -> None:
        """Open the file, or the one that has taken its place."""
        try:
            there = self._path.stat()
        except FileNotFoundError:
            there = None
        if there is not None and self._descriptor >= 0:
            held = os.fstat(self._descriptor)
            if (held.st_ino, held.st_dev) == (there.st_ino, there.st_dev):
                return
        # The old descriptor stays open: another thread may wait for its disk.
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._descriptor = os.open(self._path, flags, 0o600)
        if there is None:
            _sync_folder(self._path.parent)


def _cut(descriptor: int) -> bool:
    """Return whether a file's last line lacks its end."""
    size = os.fstat(descriptor).st_size
    return size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"


def _replace(path: Path, data: bytes, mode: int) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def secret_once(path: Path, make: Callable[[], str]) -> str:
    """Return the secret in a file, made at its first use; two processes that race get the same one."""
    private_folder(path.parent)
    with suppress(FileExistsError):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(make())
            file.flush()
            os.fsync(file.fileno())
    for _ in range(100):
        if value := path.read_text().strip():
            return value
        time.sleep(0.01)
    msg = f"{path} is empty. Remove it; a new secret is then created."
    raise OSError(msg)
