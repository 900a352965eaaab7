"""The devices of a rollout, their order, and reasons for exclusion; this module writes and locks nothing."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from django.db.models import Q, QuerySet

from devices import query
from devices.models import Device
from ota import planning
from ota.eligibility import Reason
from ota.models import Rollout
from ota.planning import PERMILLE
from ota.selectors.eligibility import CandidateDevice, DeviceRules

#: devices read in one query
PAGE = 2000
_FIELDS = ("id", "name", "hardware_model_id", "audience", "state", "quarantined_at", "twin__reported")


@dataclass(slots=True)
class Participants:
    """The devices of a rollout.

    Args:
        ranked: rank (``planning.rank_device``) and internal id of those that take part.
        others: reason to how many devices it keeps out, and the first of their names.
    """

    ranked: list[tuple[bytes, int]] = field(default_factory=list)
    others: dict[Reason, tuple[int, list[str]]] = field(default_factory=dict)

    @property
    def order(self) -> list[int]:
        """Return the internal ids of the participants, in the order of the waves."""
        return [pk for _, pk in sorted(self.ranked)]

    @property
    def excluded(self) -> dict[str, dict[str, object]]:
        """Return the reasons in the stored format of a rollout."""
        return {
            reason.sentence: {"code": reason.kind.value, "count": count, "devices": sorted(names)[:PERMILLE]}
            for reason, (count, names) in self.others.items()
        }

    @property
    def nobody(self) -> str:
        """Return the message for a rollout without eligible devices."""
        why = "; ".join(f"{count} because {reason}" for reason, (count, _) in self.others.items())
        return f"No device is eligible for this rollout: {why or 'none is enrolled'}."

    def leave_out(self, reason: Reason, name: str) -> None:
        """Count an excluded device; store only the first names."""
        count, names = self.others.get(reason, (0, []))
        names.append(name)
        if len(names) > 2 * PERMILLE:
            names = sorted(names)[:PERMILLE]
        self.others[reason] = (count + 1, names)


def rollout_candidates(rollout: Rollout) -> QuerySet[Device]:
    """Return the devices that match a rollout's target, by internal id, without retired ones.

    Raises:
        InvalidError: the target names something that no longer exists.
    """
    matching = query.parse_query(rollout.target, Q(domain=rollout.domain_id))
    rows = Device.objects.filter(matching, domain=rollout.domain_id)
    return rows.exclude(state=Device.State.RETIRED).order_by("id")


def choose_participants(rollout: Rollout, between: Callable[[], None] = lambda: None) -> Participants:
    """Decide for every candidate whether it takes part.

    Args:
        rollout: with its release and bundle.
        between: called after each page of devices.
    """
    rules, participants = DeviceRules(rollout.release.bundle), Participants()
    for page in _pages(rollout_candidates(rollout)):
        for candidate in page:
            if reason := rules.reason(candidate):
                participants.leave_out(reason, candidate.name)
            else:
                participants.ranked.append((planning.rank_device(rollout.name, candidate.name), candidate.pk))
        between()
    return participants


def _pages(rows: QuerySet[Device]) -> Iterator[list[CandidateDevice]]:
    last = 0
    while page := list(rows.filter(id__gt=last).values_list(*_FIELDS)[:PAGE]):
        last = page[-1][0]
        yield [CandidateDevice(*values) for values in page]
