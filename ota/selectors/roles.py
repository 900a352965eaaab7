"""The current state of the roles of a domain's update metadata, read from what is published."""

from datetime import datetime
from pathlib import Path

from django.conf import settings
from tuf.api.metadata import Snapshot, Timestamp

from ota.trust import standing
from ota.trust.repository import Repository
from ota.trust.standing import RoleStanding
from pki.kernel import clock
from pki.kernel.actor import Actor
from pki.kernel.permissions import Action, require_action

#: states that need no attention
QUIET = {standing.GOOD}
#: folder of a repository -> version of its snapshot, and the end of the bin that ends first under it
_first: dict[Path, tuple[int, datetime | None]] = {}


def role_states(*, actor: Actor, whole: bool = True) -> list[RoleStanding]:
    """Return the state of each role; empty before the key ceremony.

    Args:
        actor: who asks.
        whole: read every bin; else the one that ends first, which is looked for once for each snapshot.
    """
    require_action(actor, Action.READ)
    folder = settings.FLEET_DIR / "tuf" / actor.domain
    store = Repository(folder)
    store.freeze()
    root = store.root()
    if root is None:
        return []
    newest = store.newest(Snapshot)
    others = [document for document in (store.targets(), newest, store.newest(Timestamp)) if document is not None]
    ends = store.ends_of_bins() if whole or newest is None else _first_end(folder, store, newest.signed.version)
    return list(standing.role_standings(root, others, ends, clock.now()))


def _first_end(folder: Path, store: Repository, version: int) -> list[datetime]:
    """Return the end of the bin that ends first; all are read once for each snapshot, for they change with it only."""
    known = _first.get(folder)
    if known is None or known[0] != version:
        known = _first[folder] = (version, min(store.ends_of_bins(), default=None))
    return [known[1]] if known[1] is not None else []


def role_alarms(*, actor: Actor) -> list[RoleStanding]:
    """Return the roles that need action."""
    return [state for state in role_states(actor=actor, whole=False) if state.level not in QUIET]
