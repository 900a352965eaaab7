"""Waves and gates: values in, values out."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ota import planning
from ota.planning import WavePlan, WaveTally
from pki.kernel.errors import InvalidError

NOW = datetime(2030, 1, 1, tzinfo=UTC)
USUAL = [WavePlan(count=1), WavePlan(share=250), WavePlan(share=1000)]
names = st.sets(st.text("abcdef0123456789", min_size=1, max_size=8), max_size=60)
shares = st.lists(st.integers(1, 999), max_size=5).map(sorted)


@given(names, shares, st.text(max_size=10))
def test_every_device_is_in_exactly_one_wave_and_the_order_is_stable(devices, cuts, seed):
    plan = [*(WavePlan(share=share) for share in cuts), WavePlan(share=1000)]
    spread = planning.assign_waves(seed, sorted(devices), plan)
    assert sorted(name for wave in spread for name in wave) == sorted(devices)
    assert spread == planning.assign_waves(seed, sorted(devices, reverse=True), plan)


def test_the_usual_waves_of_fifty():
    sizes = [len(wave) for wave in planning.assign_waves("x", [str(n) for n in range(50)], USUAL)]
    assert sizes == [1, 12, 37]


def test_another_seed_picks_other_devices():
    devices = [str(n) for n in range(50)]
    assert planning.assign_waves("x", devices, USUAL) != planning.assign_waves("y", devices, USUAL)


@pytest.mark.parametrize(
    ("waves", "success", "errors"),
    [
        ([], 900, 100),
        ([WavePlan(share=500)], 900, 100),
        ([WavePlan(count=1, share=1000)], 900, 100),
        ([WavePlan(), WavePlan(share=1000)], 900, 100),
        ([WavePlan(share=1000, soak_s=-1)], 900, 100),
        (USUAL, 0, 100),
        (USUAL, 900, 1001),
        ([WavePlan(count=1)] * 21, 900, 100),
    ],
)
def test_plans_that_cannot_work_are_refused(waves, success, errors):
    with pytest.raises(InvalidError):
        planning.check_plan(waves, success, errors)


def gate(devices=10, finished=10, failed=0, errors=0, soak=0, age=60):
    tally = WaveTally(devices, finished, failed, errors, targets=50)
    return planning.judge_wave(tally, 900, 100, NOW - timedelta(seconds=age), soak, NOW)


def test_a_healthy_wave_is_done_after_its_soak():
    assert gate().done
    assert not gate(soak=120).done
    assert "soak time" in gate(soak=120).reason


def test_a_wave_waits_for_its_devices():
    verdict = gate(finished=9)
    assert not verdict.done
    assert not verdict.hold


def test_too_few_successes_hold():
    assert gate(finished=8, failed=2).hold
    assert gate(finished=9, failed=1).done


def test_the_error_budget_of_the_whole_rollout_holds_at_once():
    assert gate(finished=0, errors=6).hold
    assert not gate(finished=0, errors=5).hold


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 50), st.integers(0, 50), st.integers(0, 100))
def test_a_gate_never_opens_and_holds_at_once_and_always_gives_a_reason(devices, finished, failed, errors, age):
    verdict = gate(devices, finished, failed, errors, 50, age)
    assert not (verdict.done and verdict.hold)
    assert verdict.reason
