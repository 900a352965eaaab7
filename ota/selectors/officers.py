"""The officers who may sign releases of a domain, by its published TUF root."""

from dataclasses import dataclass, field

from django.conf import settings
from tuf.api.metadata import Targets

from ota.contract.root_keys import THRESHOLD
from ota.trust import policy
from ota.trust.repository import Repository


@dataclass(frozen=True, slots=True)
class Officers:
    """The officers of a domain.

    Args:
        names: key id to the name that the root gives.
        threshold: number of different officers who must sign.
    """

    names: dict[str, str] = field(default_factory=dict)
    threshold: int = THRESHOLD


def list_officers(slug: str) -> Officers:
    """Return the officers; empty while there is no root."""
    root = Repository(settings.FLEET_DIR / "tuf" / slug).root()
    if root is None:
        return Officers()
    threshold = max(root.signed.roles[Targets.type].threshold, THRESHOLD)
    return Officers(policy.role_officers(root.signed), threshold)
