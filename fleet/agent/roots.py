"""Checks of TUF roots on a device: each key and person counts once, and no online key belongs to a person.

TUF counts key ids, which the author of a root chooses. So a root is checked before it is used or stored, even if the
officers of the previous root signed it. Numbers are steps of the TUF specification 1.0, section 5.
"""

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tuf.api.metadata import Signed
from tuf.ngclient import Updater

from fleet.agent.errors import RefusedError
from ota.contract import root_keys
from ota.contract.root_keys import RootKeys
from pki.kernel import canonical
from pki.kernel.errors import InvalidError

MAX_ROOT = 128 * 1024


class VerifyingUpdater(Updater):
    """python-tuf's client, which also gives out what it has verified."""

    def verified(self, role: str) -> Signed | None:
        """Return the signed part of a role's metadata as it was verified; None if there is none."""
        try:
            return self._trusted_set[role]
        except KeyError:
            return None


def updater_with(admit: Callable[[bytes], None]) -> type[VerifyingUpdater]:
    """Return python-tuf's client with an extra check of each root after its signatures, before it is stored or used.

    ``_persist_root`` is the one place through which python-tuf takes a root that it did not have, the first one too
    (5.2 and 5.3.8); signatures and version are verified by then (5.3.4 and 5.3.5).

    Args:
        admit: raises for a root to refuse.
    """

    class RootUpdater(VerifyingUpdater):
        def _persist_root(self, version: int, data: bytes) -> None:
            admit(data)
            super()._persist_root(version, data)

        def _update_root_symlink(self) -> None:
            # It is called after a refusal too; ``root.json`` would then name a root that was not kept.
            if Path(self._dir, "root_history", f"{self._trusted_set.root.version}.root.json").is_file():
                super()._update_root_symlink()

    return RootUpdater


class KeptRoots:
    """The roots that a device has accepted.

    Args:
        folder: folder with one file per version.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._good: dict[bytes, RootKeys] = {}

    def check_kept(self, bootstrap: bytes) -> None:
        """Check the factory root and every stored root (5.2); a checked root is not parsed again.

        Raises:
            RefusedError: a key or a person counts twice in one of them.
        """
        self._keep(bootstrap)
        for path in self._folder.glob("*.root.json"):
            self._keep(path.read_bytes())

    def kept_above(self, bootstrap: bytes) -> int:
        """Return the number of consecutive stored roots after the factory root."""
        version = first = _version_of(bootstrap)
        while (self._folder / f"{version + 1}.root.json").is_file():
            version += 1
        return version - first

    def admit(self, data: bytes) -> None:
        """Check a root that the officers of the previous root signed (5.3.4), before it is stored (5.3.8).

        Raises:
            RefusedError: a key or a person counts twice, or a former online key belongs to a person.
        """
        formerly = {identity for value in self._good.values() for identity in value.online_identities()}
        self._good[hashlib.sha256(data).digest()] = _checked(data, formerly)

    def _keep(self, data: bytes) -> None:
        digest = hashlib.sha256(data).digest()
        if digest not in self._good:
            self._good[digest] = _checked(data)


def _document(data: bytes) -> Any:  # untyped: callers check the fields that they read
    return canonical.loads(data, max_bytes=MAX_ROOT)


def _version_of(data: bytes) -> int:
    try:
        value = _document(data)
        return int(value["signed"]["version"])
    except (KeyError, TypeError, ValueError, InvalidError) as error:
        msg = f"the factory's root of the update metadata is malformed: {error}"
        raise RefusedError(msg) from error


def _checked(data: bytes, formerly: Iterable[str] = ()) -> RootKeys:
    try:
        value = _document(data)
        return root_keys.check_root_keys(value["signed"], formerly)
    except (KeyError, TypeError) as error:
        msg = f"a root of the update metadata is malformed: {error}"
        raise RefusedError(msg) from error
    except InvalidError as error:
        msg = f"a root of the update metadata cannot be trusted: {error.detail}"
        raise RefusedError(msg) from error
