"""The current state of the roles of a domain's update metadata, read from what is published."""

from pathlib import Path

from django.conf import settings
from tuf.api.metadata import Metadata, Snapshot, Targets, Timestamp

from ota.trust import standing
from ota.trust.repository import Repository, bins
from ota.trust.standing import RoleStanding
from pki.kernel import clock
from pki.kernel.actor import Actor
from pki.kernel.permissions import Action, require_action

#: states that need no attention
QUIET = {standing.GOOD}
#: folder of a repository -> version of its snapshot, and the bin that ends first under it
_first: dict[Path, tuple[int, Metadata[Targets] | None]] = {}


def roles(*, actor: Actor, whole: bool = True) -> list[RoleStanding]:
    """Return the state of each role; nothing before the key ceremony.

    Args:
        actor: who asks.
        whole: read every bin; else the one that ends first, which is looked for once for each snapshot.
    """
    require_action(actor, Action.READ)
    place = settings.FLEET_DIR / "tuf" / actor.domain
    store = Repository(place)
    root = store.root()
    if root is None:
        return []
    targets = store.targets()
    others = [one for one in (targets, store.newest(Snapshot), store.newest(Timestamp)) if one is not None]
    delegated = bins(targets.signed) if targets else None
    names = tuple(delegated.get_roles()) if delegated else ()
    newest = store.newest(Snapshot)
    if whole or newest is None:
        documents = [store.document(role) for role in names]
        found = [one for one in documents if one is not None]
    else:
        found = _first_to_end(place, names, newest.signed.version)
    return list(standing.standings(root, others, found, clock.now()))


def _first_to_end(place: Path, names: tuple[str, ...], version: int) -> list[Metadata[Targets]]:
    """Return the bin that ends first; all are read once for each snapshot, for they change with it only."""
    known = _first.get(place)
    if known is None or known[0] != version:
        store = Repository(place)
        documents = [one for one in (store.document(role) for role in names) if one is not None]
        first = min(documents, key=lambda one: one.signed.expires, default=None)
        known = _first[place] = (version, first)
    return [known[1]] if known[1] is not None else []


def alarms(*, actor: Actor) -> list[RoleStanding]:
    """Return the roles that need action."""
    return [one for one in roles(actor=actor, whole=False) if one.level not in QUIET]
