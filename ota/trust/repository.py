"""One domain's published metadata on disk: files are added, never changed or removed (but the timestamp).

Names are those of consistent snapshots (TUF specification 1.0, 6.2): ``VERSION.ROLE.json``, and the timestamp alone
without a version.
"""

import fcntl
import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from tuf.api.exceptions import DownloadError, RepositoryError
from tuf.api.metadata import Metadata, Root, Snapshot, SuccinctRoles, TargetFile, Targets, Timestamp

from ota.contract import tuf_json
from ota.errors import MetadataError
from ota.trust.counting import signed_by_enough
from pki.kernel import files
from pki.kernel.errors import NotFoundError

MAX_METADATA = 5_000_000
_VERSIONED = re.compile(r"([1-9][0-9]{0,11})\.(root|snapshot|targets|b-[0-9a-f]{1,4})\.json")
_BUNDLE = re.compile(r"([0-9a-f]{64})\.bundle\.json")
_MANIFEST = re.compile(r"[0-9a-f]{64}\.[0-9a-f-]{36}\.suit")
_TIMESTAMP = "timestamp.json"
#: ends of bins that are remembered; one has a hundred bytes or two
MOST_ENDS = 8192
#: SHA-256 of what delegates to a bin, the bin, SHA-256 of its file -> its end; None if too few officers signed it
_ends: dict[tuple[bytes, str, bytes], datetime | None] = {}
Signed = TypeVar("Signed", Root, Targets, Snapshot, Timestamp)


class Repository:
    """Metadata files of one trust domain.

    Args:
        folder: ``FLEET_DIR/tuf/<slug>``.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._loaded: dict[str, Metadata[Any]] = {}  # untyped: each of the role that its name says
        self._listed: dict[str, list[int]] | None = None
        self._chain: tuple[list[int], list[int]] | None = None

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold off other writers of this domain, in this and other processes."""
        self._folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            self._listed = self._scan()  # nobody else writes until the lock is given back
            yield
        finally:
            self._listed = None
            os.close(descriptor)

    def freeze(self) -> None:
        """List the files once: what is added later is not seen by this object."""
        self._listed = self._scan()

    def forget(self) -> None:
        """Drop the documents that were read, which may be many; they are read again when they are asked for."""
        self._loaded.clear()

    def read(self, name: str) -> bytes:
        """Return a published file.

        Raises:
            NotFoundError: the name is no metadata name, or nothing of that name was published.
        """
        if name == _TIMESTAMP or any(form.fullmatch(name) for form in (_VERSIONED, _BUNDLE)):
            return self._read(name)
        raise _missing()

    def read_manifest(self, digest: str, hardware: str) -> bytes:
        """Return the SUIT envelope of a bundle for a hardware class; it has no public name, and goes to whom it is for.

        Raises:
            NotFoundError: none was published.
        """
        return self._read(manifest_name(digest, hardware))

    def _read(self, name: str) -> bytes:
        try:
            return (self._folder / name).read_bytes()
        except OSError as error:
            raise _missing() from error

    def publish(self, name: str, data: bytes) -> None:
        """Write a file whole; one that is there already must hold the same bytes, but for the timestamp.

        Raises:
            MetadataError: the name is none, was used for other content, or is not the digest of the bundle.
        """
        bundle = _BUNDLE.fullmatch(name)
        if not (name == _TIMESTAMP or bundle or _VERSIONED.fullmatch(name) or _MANIFEST.fullmatch(name)):
            msg = f"{name[:60]!r} is not the name of a metadata file."
            raise MetadataError(msg)
        if bundle and hashlib.sha256(data).hexdigest() != bundle[1]:
            msg = "A bundle's document is published under its own digest."
            raise MetadataError(msg)
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / name
        if name != _TIMESTAMP and path.exists():
            if path.read_bytes() != data:
                msg = f"{name} was already published with other content. Use a new version."
                raise MetadataError(msg)
            return
        files.write_public(path, data)
        if self._listed is not None and (match := _VERSIONED.fullmatch(name)):
            self._listed.setdefault(match[2], []).append(int(match[1]))

    def versions(self, role: str) -> list[int]:
        """Return the published versions of a role, newest first."""
        return sorted(self._all_versions().get(role, ()), reverse=True)

    def newest_versions(self) -> dict[str, int]:
        """Return the newest stored version of each role, verified or not."""
        return {role: max(numbers) for role, numbers in self._all_versions().items()}

    def root_chain(self) -> list[int]:
        """Return the versions of the roots, oldest first, as far as each is signed by the officers of the one before.

        Another file in the folder is not a root: the chain ends before it.
        """
        versions = sorted(self.versions(Root.type))
        if self._chain is None or self._chain[0] != versions:
            self._chain = versions, self._linked(versions)
        return self._chain[1]

    def _linked(self, versions: list[int]) -> list[int]:
        before, found = b"", list[int]()
        for number in versions:
            data = self.read(f"{number}.root.json")
            if found and not _follows(before, data):
                break
            found.append(number)
            before = data
        return found

    def root(self) -> Metadata[Root] | None:
        """Return the newest root of the chain that begins with the first one, or None before the key ceremony."""
        newest = next(reversed(self.root_chain()), None)
        return None if newest is None else self._load(f"{newest}.root.json", Root)

    def root_of(self, version: int) -> Metadata[Root]:
        """Return a published root.

        Raises:
            NotFoundError: there is none of that version.
        """
        return self._load(f"{version}.root.json", Root)

    def targets(self) -> Metadata[Targets] | None:
        """Return the newest targets that the newest root's officers signed, or None."""
        root = self.root()
        return self._believed(root.signed, Targets.type) if root else None

    def document(self, role: str) -> Metadata[Targets] | None:
        """Return the newest targets or bin that the officers signed, or None."""
        targets = self.targets()
        if role == Targets.type or targets is None:
            return targets
        return self._believed(targets.signed, role)

    def ends_of_bins(self) -> list[datetime]:
        """Return when the bins end, each in the newest version that the officers signed.

        All files are read, but those whose very bytes were verified under the very same targets are not parsed again.
        """
        targets = self.targets()
        roles = delegated_bins(targets.signed) if targets else None
        if targets is None or roles is None:
            return []
        digest = hashlib.sha256(targets.signed_bytes).digest()
        ends = [self._end_of(targets.signed, digest, role) for role in roles.get_roles()]
        return [end for end in ends if end is not None]

    def _end_of(self, delegator: Targets, digest: bytes, role: str) -> datetime | None:
        for version in self.versions(role):
            data = self.read(f"{version}.{role}.json")
            end = _read_end(delegator, (digest, role, hashlib.sha256(data).digest()), data)
            if end is not None:
                return end
        return None

    def last_believed(self) -> dict[str, Metadata[Targets]]:
        """Return targets and bins as officers signed them last: the present ones, or those before them."""
        for version in reversed(self.root_chain()):
            root = self._load(f"{version}.root.json", Root).signed
            targets = self._believed(root, Targets.type)
            if targets is None:
                continue
            roles = delegated_bins(targets.signed)
            known = {role: self._believed(targets.signed, role) for role in (roles.get_roles() if roles else ())}
            return {Targets.type: targets, **{role: document for role, document in known.items() if document}}
        return {}

    def listed(self, path: str) -> TargetFile | None:
        """Return what the officers' newest bin says of a bundle, or None when they never signed it."""
        targets = self.targets()
        role = bin_of(targets.signed, path) if targets else None
        document = self._believed(targets.signed, role) if targets and role else None
        return document.signed.targets.get(path) if document else None

    def _believed(self, delegator: Root | Targets, role: str) -> Metadata[Targets] | None:
        for version in self.versions(role):
            document = self._load(f"{version}.{role}.json", Targets)
            if signed_by_enough(delegator, role, document):
                return document
        return None

    def _all_versions(self) -> dict[str, list[int]]:
        return self._scan() if self._listed is None else self._listed

    def _scan(self) -> dict[str, list[int]]:
        versions: dict[str, list[int]] = {}
        if self._folder.is_dir():
            for path in os.scandir(self._folder):
                if match := _VERSIONED.fullmatch(path.name):
                    versions.setdefault(match[2], []).append(int(match[1]))
        return versions

    def newest(self, kind: type[Signed]) -> Metadata[Signed] | None:
        """Return the newest stored snapshot or timestamp, or None."""
        if kind is Timestamp:
            try:
                return load_document(self.read("timestamp.json"), kind)
            except NotFoundError:
                return None
        newest = next(iter(self.versions(kind.type)), None)
        return None if newest is None else self._load(f"{newest}.{kind.type}.json", kind)

    def _load(self, name: str, kind: type[Signed]) -> Metadata[Signed]:
        """Return a versioned file; it never changes, so that it is read once in the life of this object."""
        if name not in self._loaded:
            self._loaded[name] = load_document(self.read(name), kind)
        return self._loaded[name]


@lru_cache(maxsize=1024)
def _follows(before: bytes, data: bytes) -> bool:
    """Return whether a root follows another: enough officers of both signed it (TUF specification 1.0, 5.3.4)."""
    try:
        previous, new = load_document(before, Root), load_document(data, Root)
        return bool(new.signed.get_root_verification_result(previous.signed, new.signed_bytes, new.signatures))
    except (MetadataError, ValueError):
        return False


def _read_end(delegator: Targets, key: tuple[bytes, str, bytes], data: bytes) -> datetime | None:
    """Return when a bin ends, or None if too few officers signed it; asked once for the same bytes."""
    try:
        return _ends[key]
    except KeyError:
        document = load_document(data, Targets)
    end = document.signed.expires if signed_by_enough(delegator, key[1], document) else None
    if len(_ends) >= MOST_ENDS:
        _ends.clear()
    _ends[key] = end
    return end


def _missing() -> NotFoundError:
    return NotFoundError("There is no such metadata.")


def manifest_name(digest: str, hardware: str) -> str:
    """Return the name of the SUIT envelope of a bundle for a hardware class."""
    return f"{digest}.{hardware}.suit"


def delegated_bins(targets: Targets) -> SuccinctRoles | None:
    """Return the hash bins that targets delegate to, or None when they have none."""
    return targets.delegations.succinct_roles if targets.delegations else None


def bin_of(targets: Targets, path: str) -> str | None:
    """Return the name of the bin that a path belongs to, or None when there are no bins."""
    roles = delegated_bins(targets)
    return roles.get_role_for_target(path) if roles else None


def load_document(data: bytes, kind: type[Signed]) -> Metadata[Signed]:
    """Read metadata of one type.

    Raises:
        MetadataError: the bytes are too many, no metadata, or of another type.
    """
    if len(data) > MAX_METADATA:
        msg = f"The metadata has {len(data)} bytes; the maximum is {MAX_METADATA}."
        raise MetadataError(msg)
    try:
        document = Metadata.from_bytes(data, tuf_json.StrictDeserializer())
    except (RepositoryError, DownloadError, ValueError, KeyError, TypeError, AttributeError) as error:
        msg = f"This is not TUF metadata of the type {kind.type}."
        raise MetadataError(msg) from error
    if not isinstance(document.signed, kind):
        msg = f"This is TUF metadata of the type {document.signed.type}, not {kind.type}."
        raise MetadataError(msg)
    return document
