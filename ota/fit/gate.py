"""The fit gate: what a model needs against what a hardware model has, with stable codes and numbers. Pure."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Profile:
    """What a hardware model offers to models, in bytes; 0 means none.

    Args:
        flash_model: flash for one model file.
        arena: memory for its tensors while it runs.
    """

    flash_model: int
    arena: int


@dataclass(frozen=True, slots=True)
class Reason:
    """Why something does not fit.

    Args:
        code: ``flash_exceeded`` or ``arena_exceeded``.
        need: bytes.
        have: bytes.
        source: where the need comes from: ``file``, ``declared`` or ``predicted``.
    """

    code: str
    need: int
    have: int
    source: str

    def sentence(self) -> str:
        """Return it for people."""
        what = {"flash_exceeded": "bytes of flash", "arena_exceeded": "bytes of tensor arena"}[self.code]
        return f"it needs {self.need} {what} ({self.source}) and {self.have} are there"

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON says it."""
        return asdict(self)


def margin(predicted: int) -> int:
    """Return the arena to demand for a predicted one: a tenth more, and at least 512 bytes more."""
    return max((predicted * 11 + 9) // 10, predicted + 512)


def verdict(kind: str, facts: Mapping[str, Any], profile: Profile) -> list[Reason]:
    """Return why a bundle does not fit; an empty list means that it fits.

    Args:
        kind: of the bundle; only models have needs that can be checked yet.
        facts: of the inspection: ``flash``, and ``arena`` with ``need`` and ``source``.
        profile: what the hardware model offers.
    """
    if kind != "model":
        return []
    reasons = []
    if facts["flash"] > profile.flash_model:
        reasons.append(Reason("flash_exceeded", facts["flash"], profile.flash_model, "file"))
    arena = facts["arena"]
    if arena["need"] > profile.arena:
        reasons.append(Reason("arena_exceeded", arena["need"], profile.arena, arena["source"]))
    return reasons
