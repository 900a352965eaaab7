"""The novelty layer: destinations that a device, or its whole cohort, never used before. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

#: keys that are kept for a device and for a cohort; a new one replaces the least recently used
MOST_KEYS = 64


@dataclass(slots=True)
class Novelty:
    """Which keys are known, for each device and for each cohort.

    Args:
        devices: device id -> keys, oldest use first.
        cohorts: cohort name -> keys.
    """

    devices: dict[int, list[str]] = field(default_factory=dict)
    cohorts: dict[str, list[str]] = field(default_factory=dict)

    def see(self, device: int, cohort: str, keys: frozenset[str], *, learning: bool) -> list[str]:
        """Return the keys that are new to the whole cohort, and learn what may be learned.

        A key that is new to the device but known in its cohort is learned at once. One that is new to the
        cohort is learned only while the device is being learned; afterwards it stays unknown until ``accept``.
        """
        own, cohort_keys = self.devices.setdefault(device, []), self.cohorts.setdefault(cohort, [])
        strange = [key for key in sorted(keys) if key not in own and key not in cohort_keys]
        learned = keys if learning else keys - set(strange)
        for key in sorted(learned):
            _use(own, key)
            if key not in cohort_keys:
                _use(cohort_keys, key)
        return [] if learning else strange

    def accept(self, device: int, keys: list[str]) -> None:
        """Learn keys that an operator marked as benign."""
        own = self.devices.setdefault(device, [])
        for key in keys:
            _use(own, key)

    def plain(self) -> dict[str, Mapping[str, list[str]]]:
        """Return the state as JSON values."""
        return {"devices": {str(key): keys for key, keys in self.devices.items()}, "cohorts": self.cohorts}

    @classmethod
    def of(cls, plain: Mapping[str, Mapping[str, list[str]]]) -> "Novelty":
        """Read what ``plain`` returned."""
        devices = {int(key): list(keys) for key, keys in plain["devices"].items()}
        return cls(devices, {key: list(keys) for key, keys in plain["cohorts"].items()})


def _use(keys: list[str], key: str) -> None:
    if key in keys:
        keys.remove(key)
    keys.append(key)
    if len(keys) > MOST_KEYS:
        del keys[0]
