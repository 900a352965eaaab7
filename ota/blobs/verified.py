"""Local blobs are served only while their bytes match their digest, even if others can write into the folder.

A file is hashed once in the life of a process, and again whenever its inode, length or times have changed. The change
time of an inode cannot be set by a writer of the file, so that a file with the same stamp has the same bytes.
"""

import hashlib
import os
import threading
import time
from collections import OrderedDict
from pathlib import Path
from typing import BinaryIO

from ota.errors import BlobStoreError

Stamp = tuple[int, ...]
MOST = 10_000
#: file times are this coarse at worst: what changed a moment ago is hashed again the next time
COARSE_NS = 100_000_000
_stamps: OrderedDict[Path, tuple[Stamp, str]] = OrderedDict()
_lock = threading.Lock()
_hashing: dict[Path, threading.Lock] = {}


def verify_bytes(path: Path, sha256: str) -> Stamp:
    """Return the stamp of a file whose bytes are those of a digest; the first time this reads the whole file.

    Raises:
        BlobStoreError: the file holds other bytes.
    """
    with _lock:
        one_at_a_time = _hashing.setdefault(path, threading.Lock())
    with one_at_a_time, path.open("rb") as file:
        stamp = stamp_of(file)
        if _stamps.get(path) == (stamp, sha256):
            return stamp
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != sha256 or stamp_of(file) != stamp:
            msg = f"The stored file {sha256} does not match its digest. Restore it from a backup."
            raise BlobStoreError(msg)
        if time.time_ns() - stamp[-1] > COARSE_NS:
            _remember(path, (stamp, sha256))
        return stamp


def demand_stamp(file: BinaryIO, stamp: Stamp) -> None:
    """Refuse a file that has changed since its bytes were verified; asked after each read, before the bytes are sent.

    Raises:
        OSError: it has, so that the answer breaks off.
    """
    if stamp and stamp_of(file) != stamp:
        msg = "a stored file changed after its bytes were verified"
        raise OSError(msg)


def stamp_of(file: BinaryIO) -> Stamp:
    """Return the fields that change when an open file is written; the change time is last."""
    facts = os.fstat(file.fileno())
    return facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns


def _remember(path: Path, known: tuple[Stamp, str]) -> None:
    with _lock:
        _stamps[path] = known
        _stamps.move_to_end(path)
        while len(_stamps) > MOST:
            gone, _ = _stamps.popitem(last=False)
            _hashing.pop(gone, None)
