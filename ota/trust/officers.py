"""What release officers have signed, verified by this process and kept in memory while the files stay as they are.

Neither a row of the database nor the newest file on disk is trusted: each document counts by the signatures on it,
under a chain of roots that begins with the first root that this process has seen. Versions that were seen once never go
back during the life of a process, so that removed files do not undo a withdrawal or a floor.
"""

import threading
import time
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

from tuf.api.metadata import Metadata, Root, Snapshot, Targets

from ota.eligibility import ObstacleKind, Reason, make_reason
from ota.errors import MetadataError
from ota.trust import documents, policy
from ota.trust.documents import Floors
from ota.trust.repository import Repository, bin_of
from pki.kernel.errors import NotFoundError

#: bins of one domain kept in memory; one has some tens of kilobytes
MOST_BINS = 256
#: file times are this coarse at worst: a folder that changed a moment ago is read again
COARSE_NS = 100_000_000
UNSIGNED = make_reason(ObstacleKind.NOT_SIGNED)


@dataclass(frozen=True, slots=True)
class Listed:
    """What the officers' documents say of one target.

    Args:
        reason: why no device may be given it; None when they list it and have not withdrawn it.
        sha256: of its ``bundle.json``, in hex; also of one that was withdrawn.
        floors: component to hardware class to the lowest security counter that devices may be given.
    """

    reason: Reason | None
    sha256: str = ""
    floors: Floors = field(default_factory=dict)


class OfficersView:
    """The verified documents of one trust domain; safe for threads.

    Args:
        folder: ``FLEET_DIR/tuf/<slug>``.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._lock = folder, threading.Lock()
        self._mark: tuple[int, ...] = ()
        self._store = Repository(folder)
        self._anchor = b""
        self._seen: dict[str, int] = {}
        self._named: dict[str, int] = {}
        self._bins: OrderedDict[str, Targets] = OrderedDict()
        self._root: Root | None = None
        self._targets: Targets | None = None
        self._trouble = UNSIGNED

    def listed(self, path: str, now: datetime) -> Listed:
        """Return what the officers say of a target.

        Args:
            path: ``<component>/<bundle name>/<version>/bundle.json``.
            now: nothing is listed by documents that have expired by then.
        """
        with self._lock:
            try:
                self._refresh()
                return self._listed(path, now)
            except (MetadataError, NotFoundError, OSError) as error:
                return Listed(_unreadable(error))

    def hold(self) -> None:
        """Read and keep the first root now, so that no other one takes its place in this process and its children."""
        with self._lock, suppress(OSError):
            self._refresh()

    def _listed(self, path: str, now: datetime) -> Listed:
        root, targets = self._root, self._targets
        if root is None or targets is None:
            return Listed(self._trouble)
        role = bin_of(targets, path)
        bin_document = self._bin(root, targets, role) if role else None
        target = bin_document.targets.get(path) if bin_document else None
        if role is None or bin_document is None or target is None:
            return Listed(UNSIGNED)
        digest, floors = str(target.hashes.get("sha256", "")), documents.floors_of(targets)
        dated: tuple[tuple[str, Root | Targets], ...] = (
            ("root", root),
            ("list of targets", targets),
            (f"list {role}", bin_document),
        )
        if late := next((name for name, document in dated if document.is_expired(now)), ""):
            return Listed(make_reason(ObstacleKind.SIGNATURES_EXPIRED, document=late), digest, floors)
        if (reason := documents.reason_of(target)) is not None:
            return Listed(make_reason(ObstacleKind.WITHDRAWN, why=reason), digest, floors)
        return Listed(None, digest, floors)

    def _refresh(self) -> None:
        """Read root and targets again if the folder has changed since."""
        mark = _mark(self._folder)
        if mark and mark == self._mark:
            return
        self._root = self._targets = None
        self._trouble, self._mark = UNSIGNED, ()
        self._bins.clear()
        self._store = Repository(self._folder)
        self._store.freeze()
        try:
            self._read()
        except (MetadataError, NotFoundError) as error:
            self._trouble = _unreadable(error)
        if mark and time.time_ns() - max(mark[:2]) > COARSE_NS:
            self._mark = mark

    def _read(self) -> None:
        root = self._store.root()
        if root is None:
            return
        anchor = sha256(self._store.read(f"{self._store.root_chain()[0]}.root.json")).digest()
        if self._anchor and anchor != self._anchor:
            self._trouble = make_reason(ObstacleKind.ROOT_EXCHANGED)
            return
        self._advance(Root.type, root.signed.version)
        self._anchor = anchor
        self._named = self._in_snapshot(root.signed)
        targets = self._store.targets()
        if targets is None:
            return
        policy.check_targets(root.signed, targets)
        self._advance(Targets.type, targets.signed.version)
        self._root, self._targets = root.signed, targets.signed

    def _bin(self, root: Root, targets: Targets, role: str) -> Targets | None:
        """Return the newest bin that the officers signed."""
        if role in self._bins:
            self._bins.move_to_end(role)
            return self._bins[role]
        document = self._store.document(role)
        self._store.forget()
        if document is None:
            return None
        policy.check_bin(root, targets, role, document)
        self._advance(role, document.signed.version)
        self._bins[role] = document.signed
        while len(self._bins) > MOST_BINS:
            self._bins.popitem(last=False)
        return document.signed

    def _advance(self, role: str, version: int) -> None:
        """Refuse a document that is older than one that was seen before, or than the snapshot says."""
        least = max(self._seen.get(role, 0), self._named.get(role, 0))
        if version < least:
            msg = f"{role} is stored in version {version}, but version {least} was published. Restore that file."
            raise MetadataError(msg)
        self._seen[role] = version

    def _in_snapshot(self, root: Root) -> dict[str, int]:
        """Return the versions that the newest snapshot names, if the root's online key signed it."""
        snapshot: Metadata[Snapshot] | None = self._store.newest(Snapshot)
        if snapshot is None or not root.get_verification_result(
            Snapshot.type, snapshot.signed_bytes, snapshot.signatures
        ):
            return {}
        return {name.removesuffix(".json"): meta.version for name, meta in snapshot.signed.meta.items()}


@lru_cache(maxsize=1024)
def officers_view(folder: Path) -> OfficersView:
    """Return this process's view of a domain's folder."""
    return OfficersView(folder)


def _unreadable(error: Exception) -> Reason:
    return make_reason(ObstacleKind.DOCUMENTS_UNREADABLE, why=str(error))


def _mark(folder: Path) -> tuple[int, ...]:
    """Return what changes when a file is added, replaced or removed; nothing when there is no folder."""
    try:
        facts = folder.stat()
    except OSError:
        return ()
    return facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino
