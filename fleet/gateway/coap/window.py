"""Read blocks of a file from the disk, or from an object store through a cache.

A block has a kilobyte, and an object store takes milliseconds per request. So 256 KiB are fetched at once and cached.
The device verifies the whole file against the signed digest.
"""

import threading
from collections import OrderedDict

from ota.blobs.verified import demand_stamp
from ota.services import downloads
from ota.services.downloads import Download

WIDE, MOST = 256 * 1024, 128


class BucketWindow:
    """A cache of recent parts of files in an object store, at most 32 MiB; thread-safe."""

    def __init__(self) -> None:
        self._parts: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._lock = threading.Lock()

    def piece(self, file: Download, start: int, length: int) -> bytes:
        """Return some bytes; ``length`` divides the width of a part, so that no piece lies in two.

        Raises:
            BlobStoreError: the object store does not return them.
        """
        key = file.sha256, start // WIDE
        with self._lock:
            part = self._parts.get(key)
            if part is not None:
                self._parts.move_to_end(key)
        if part is None:
            begin = key[1] * WIDE
            part = b"".join(downloads.read_download(file, begin, min(WIDE, file.size - begin)))
            with self._lock:
                self._parts[key] = part
                while len(self._parts) > MOST:
                    self._parts.popitem(last=False)
        return part[start % WIDE : start % WIDE + length]


_WINDOW = BucketWindow()


def read_piece(file: Download, start: int, length: int) -> bytes:
    """Return some bytes of a file; an object store may block, so call it in a thread."""
    if file.path is None:
        return _WINDOW.piece(file, start, length)
    with file.path.open("rb") as source:
        source.seek(start)
        data = source.read(length)
        demand_stamp(source, file.stamp)
        return data
