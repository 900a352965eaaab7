"""One domain's published metadata on disk: files are added, never changed or removed (but the timestamp)."""

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from tuf.api.exceptions import DownloadError, RepositoryError
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

from ota.errors import MetadataError
from pki.kernel import files
from pki.kernel.errors import NotFoundError

MAX_METADATA = 5_000_000
_PUBLISHED = re.compile(r"(timestamp|[1-9][0-9]{0,11}\.(root|snapshot|targets))\.json")
_VERSIONED = re.compile(r"([1-9][0-9]{0,11})\.(root|snapshot|targets)\.json")
Signed = TypeVar("Signed", Root, Targets, Snapshot, Timestamp)


class Repository:
    """Metadata files of one trust domain.

    Args:
        folder: ``FLEET_DIR/tuf/<slug>``.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold off other writers of this domain, in this and other processes."""
        self._folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def read(self, name: str) -> bytes:
        """Return a published file.

        Raises:
            NotFoundError: the name is no metadata name, or nothing of that name was published.
        """
        if _PUBLISHED.fullmatch(name):
            try:
                return (self._folder / name).read_bytes()
            except OSError:
                pass
        msg = "There is no such metadata."
        raise NotFoundError(msg)

    def publish(self, name: str, data: bytes) -> None:
        """Write a file whole; a versioned one that is there already must hold the same bytes."""
        if not _PUBLISHED.fullmatch(name):
            msg = f"{name[:60]!r} is no name of metadata."
            raise MetadataError(msg)
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / name
        if _VERSIONED.fullmatch(name) and path.exists():
            if path.read_bytes() != data:
                msg = f"{name} was published with other content; versions are used once."
                raise MetadataError(msg)
            return
        files.write_public(path, data)

    def versions(self, role: str) -> list[int]:
        """Return the published versions of a role, newest first."""
        if not self._folder.is_dir():
            return []
        matches = (_VERSIONED.fullmatch(path.name) for path in self._folder.iterdir())
        return sorted((int(one[1]) for one in matches if one and one[2] == role), reverse=True)

    def root(self) -> Metadata[Root] | None:
        """Return the newest root, or None before the key ceremony."""
        newest = next(iter(self.versions("root")), None)
        return None if newest is None else load(self.read(f"{newest}.root.json"), Root)

    def targets(self) -> Metadata[Targets] | None:
        """Return the newest targets that the newest root's officers signed, or None."""
        root = self.root()
        if root is None:
            return None
        for version in self.versions("targets"):
            found = load(self.read(f"{version}.targets.json"), Targets)
            if root.signed.get_verification_result(Targets.type, found.signed_bytes, found.signatures):
                return found
        return None

    def newest(self, kind: type[Signed]) -> Metadata[Signed] | None:
        """Return the newest snapshot or the timestamp, as it lies there, or None."""
        if kind is Timestamp:
            try:
                return load(self.read("timestamp.json"), kind)
            except NotFoundError:
                return None
        newest = next(iter(self.versions(kind.type)), None)
        return None if newest is None else load(self.read(f"{newest}.{kind.type}.json"), kind)


def load(data: bytes, kind: type[Signed]) -> Metadata[Signed]:
    """Read metadata of one type.

    Raises:
        MetadataError: the bytes are too many, no metadata, or of another type.
    """
    if len(data) > MAX_METADATA:
        msg = f"Metadata of {len(data)} bytes is refused; at most {MAX_METADATA}."
        raise MetadataError(msg)
    try:
        found = Metadata.from_bytes(data)
    except (RepositoryError, DownloadError, ValueError, KeyError, TypeError, AttributeError) as error:
        msg = f"This is not TUF metadata of the type {kind.type}."
        raise MetadataError(msg) from error
    if not isinstance(found.signed, kind):
        msg = f"This is TUF metadata of the type {found.signed.type}, not {kind.type}."
        raise MetadataError(msg)
    return found
