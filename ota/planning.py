"""Assign devices to waves, and decide when the next wave may open. Pure."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from pki.kernel.errors import InvalidError
from pki.kernel.plurals import number_of

_T = TypeVar("_T")
PERMILLE = 1000
MOST_WAVES = 20


@dataclass(frozen=True, slots=True)
class Thresholds:
    """When a rollout continues and when it stops, in permille.

    Args:
        success_permille: of a wave's devices, before the next one opens.
        error_permille: of all devices: the failures that are borne.
    """

    success_permille: int = 900
    error_permille: int = 100


@dataclass(frozen=True, slots=True)
class WavePlan:
    """One wave of a plan: ``count`` devices, or a cumulative ``share`` in permille.

    Args:
        count: devices in all up to this wave, or 0.
        share: permille of all devices up to this wave, or 0.
        soak_s: seconds that the wave must have been open and healthy before the next one opens.
    """

    count: int = 0
    share: int = 0
    soak_s: int = 0

    @property
    def label(self) -> str:
        """Return the wave in words."""
        if self.count:
            return number_of(self.count, "device")
        return f"{self.share / 10:g} %"

    def reach(self, devices: int) -> int:
        """Return how many devices are in this wave and those before it."""
        size = self.count or -(-devices * self.share // PERMILLE)
        return min(max(size, 0), devices)


@dataclass(frozen=True, slots=True)
class WaveTally:
    """The state of the assignments of an open wave, and the errors of the whole rollout.

    Args:
        devices: in this wave.
        finished: of them, installed and confirmed.
        failed: of them, ended in an error or canceled.
        errors: of all waves.
        targets: devices of the whole rollout.
    """

    devices: int
    finished: int
    failed: int
    errors: int
    targets: int


@dataclass(frozen=True, slots=True)
class WaveGate:
    """Whether the wave is done, or the rollout must be held, and why, in words."""

    done: bool
    hold: bool
    reason: str


def check_plan(waves: Sequence[WavePlan], success_permille: int, error_permille: int) -> None:
    """Refuse a plan that cannot work.

    Raises:
        InvalidError: it says what to change.
    """
    if not 0 < len(waves) <= MOST_WAVES:
        msg = f"A rollout must have 1 to {MOST_WAVES} waves."
        raise InvalidError(msg)
    for wave in waves:
        if bool(wave.count) == bool(wave.share) or wave.count < 0 or not 0 <= wave.share <= PERMILLE:
            msg = "A wave must have either a number of devices or a share of 1 to 1000 permille."
            raise InvalidError(msg)
        if not 0 <= wave.soak_s <= 30 * 86400:
            msg = "A wave's soak time must be 0 seconds to 30 days."
            raise InvalidError(msg)
    if waves[-1].share != PERMILLE:
        msg = "The last wave must reach 1000 permille, so that every device is in one."
        raise InvalidError(msg)
    if not 0 < success_permille <= PERMILLE or not 0 <= error_permille <= PERMILLE:
        msg = "Success threshold and error budget must be 0 to 1000 permille."
        raise InvalidError(msg)


def assign_waves(seed: str, devices: Sequence[str], waves: Sequence[WavePlan]) -> list[list[str]]:
    """Spread devices over waves, in an order that is random but the same for one seed.

    Args:
        seed: the rollout's name.
        devices: names.
        waves: cumulative plans.

    Returns:
        The names of each wave; every device is in exactly one.
    """
    return spread_order(sorted(devices, key=lambda name: rank_device(seed, name)), waves)


def rank_device(seed: str, name: str) -> bytes:
    """Return the sort key of a device before devices are spread over the waves of a rollout."""
    return hashlib.sha256(f"{seed}:{name}".encode()).digest()


def spread_order(order: Sequence[_T], waves: Sequence[WavePlan], placed: Sequence[int] = ()) -> list[list[_T]]:
    """Cut devices into waves in the given order.

    Args:
        order: devices that are in no wave yet.
        waves: cumulative plans.
        placed: how many devices each wave has already, when an interrupted preparation continues.

    Returns:
        The devices to add to each wave; every device is in exactly one.
    """
    there = placed or [0] * len(waves)
    total = sum(there) + len(order)
    found, start, before = [], 0, 0
    for wave, already in zip(waves, there, strict=True):
        before += already
        end = min(max(start, wave.reach(total) - before), len(order))
        found.append(list(order[start:end]))
        start = end
    return found


def judge_wave(
    tally: WaveTally, success_permille: int, error_permille: int, opened: datetime, soak_s: int, now: datetime
) -> WaveGate:
    """Decide whether an open wave is done or must be held."""
    budget = tally.targets * error_permille // PERMILLE
    if tally.errors > budget:
        reason = f"{tally.errors} of {number_of(tally.targets, 'device')} failed; the error budget allows {budget}."
        return WaveGate(done=False, hold=True, reason=reason)
    ended = tally.finished + tally.failed
    needed = -(-tally.devices * success_permille // PERMILLE)
    if ended < tally.devices:
        return WaveGate(
            done=False,
            hold=False,
            reason=f"Not finished yet: {tally.devices - ended} of {number_of(tally.devices, 'device')}.",
        )
    if tally.finished < needed and tally.devices:
        reason = f"{tally.finished} of {number_of(tally.devices, 'device')} succeeded; {needed} needed."
        return WaveGate(done=False, hold=True, reason=reason)
    rest = opened + timedelta(seconds=soak_s) - now
    if rest > timedelta(0):
        return WaveGate(
            done=False, hold=False, reason=f"Healthy. Remaining soak time: {int(rest.total_seconds()) + 1} s."
        )
    return WaveGate(
        done=True, hold=False, reason=f"{tally.finished} of {number_of(tally.devices, 'device')} succeeded."
    )
