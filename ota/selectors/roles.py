"""How the roles of a domain's update metadata stand now, read from what is published."""

from django.conf import settings
from tuf.api.metadata import Snapshot, Timestamp

from ota.trust import standing
from ota.trust.repository import Repository, bins
from ota.trust.standing import Standing
from pki.kernel import clock

#: what nobody has to look at
QUIET = {standing.GOOD}


def roles(slug: str, *, whole: bool = True) -> list[Standing]:
    """Return how each role stands; nothing before the key ceremony.

    Args:
        slug: of the domain.
        whole: look at every bin too, which reads them all.
    """
    store = Repository(settings.FLEET_DIR / "tuf" / slug)
    root = store.root()
    if root is None:
        return []
    targets = store.targets()
    others = [one for one in (targets, store.newest(Snapshot), store.newest(Timestamp)) if one is not None]
    delegated = bins(targets.signed) if whole and targets else None
    documents = [store.document(role) for role in (delegated.get_roles() if delegated else ())]
    return list(standing.standings(root, others, [one for one in documents if one is not None], clock.now()))


def alarms(slug: str) -> list[Standing]:
    """Return the roles for which somebody should act; bins are looked at where all roles are shown."""
    return [one for one in roles(slug, whole=False) if one.level not in QUIET]
