"""The numeric layer: quiet on ordinary life, quick on a change."""

import io

import numpy as np
import pytest

from devices.drift.baseline import STORED_AS
from devices.drift.engine import Shard, threshold
from devices.drift.metrics import METRICS, restore_unit, stabilise_variance
from pki.kernel.errors import InvalidError
from tests.devices.drift.fleet import SyntheticFleet

HOURS = 1 / 3600
LEARN = 60
NOBODY = np.zeros(51, bool)


def shard():
    made = Shard()
    made.admit(np.arange(51, dtype=np.int64))
    return made


def step(engine, fleet, faulty=None, frozen=NOBODY):
    return engine.step(fleet.tick(faulty), fleet.cohort(), frozen, LEARN, HOURS)


@pytest.mark.parametrize("seed", range(10))
def test_nothing_is_flagged_in_ordinary_life_with_two_rollouts(seed):
    fleet, engine, theta = SyntheticFleet(seed), shard(), threshold(HOURS)
    flagged = 0
    for tick in range(300):
        if tick in {100, 200}:
            fleet.version[: 17 if tick == 100 else 51] = 1
        flagged += int((step(engine, fleet).score > theta).sum())
    assert flagged == 0


@pytest.mark.parametrize("seed", range(10))
def test_twenty_times_the_traffic_is_flagged_within_six_ticks_on_that_device_only(seed):
    fleet, engine, theta = SyntheticFleet(seed), shard(), threshold(HOURS)
    faulty = int(np.random.default_rng(seed).integers(51))
    for _ in range(LEARN + 5):
        step(engine, fleet)
    scores = [step(engine, fleet, faulty).score for _ in range(6)]
    assert max(score[faulty] for score in scores) > theta
    assert all((np.delete(score, faulty) <= theta).all() for score in scores)


def test_while_learning_nothing_is_scored():
    fleet, engine = SyntheticFleet(1), shard()
    for tick in range(LEARN):
        assert (step(engine, fleet, faulty=3 if tick > 50 else None).score == 0).all()


def test_an_open_incident_freezes_what_is_learned_of_the_device():
    fleet, engine = SyntheticFleet(1), shard()
    for _ in range(LEARN):
        step(engine, fleet)
    before = engine.baseline.level[7].copy()
    frozen = NOBODY.copy()
    frozen[7] = True
    for _ in range(20):
        step(engine, fleet, faulty=7, frozen=frozen)
    assert (engine.baseline.level[7] == before).all()


def test_a_new_firmware_holds_the_scores_of_the_next_reports():
    fleet, engine = SyntheticFleet(1), shard()
    for _ in range(LEARN + 5):
        step(engine, fleet)
    fleet.version[4] = 1
    held = [step(engine, fleet, faulty=4).score[4] for _ in range(2)]
    assert held == [0, 0]


def test_a_device_that_does_not_report_keeps_its_state():
    fleet, engine = SyntheticFleet(1), shard()
    for _ in range(10):
        step(engine, fleet)
    before = {name: getattr(engine.baseline, name)[2].copy() for name in STORED_AS}
    x = fleet.tick()
    x[2] = np.nan
    engine.step(x, fleet.cohort(), NOBODY, LEARN, HOURS)
    assert all((getattr(engine.baseline, name)[2] == before[name]).all() for name in before)
    assert engine.reports[2] == 10


def test_the_state_survives_storage_and_damage_is_noticed():
    fleet, engine = SyntheticFleet(1), shard()
    for _ in range(5):
        step(engine, fleet)
    blob = engine.dumps()
    again = Shard.loads(blob)
    assert (again.baseline.level == engine.baseline.level).all()
    assert (again.reports == engine.reports).all()
    with pytest.raises(InvalidError):
        Shard.loads(blob[:-1] + bytes([blob[-1] ^ 1]))


def test_the_names_in_the_stored_state_never_change():
    with np.load(io.BytesIO(shard().dumps()[4:])) as stored:
        names = [*stored]
    numbers = ["device", "n", "hold", "cohort"]
    assert names == [*numbers, "m", "s", "hi", "lo", "h1", "h2", "spike_t", "spike_b", "shift_t", "shift_b"]


def test_devices_that_join_later_find_their_place():
    engine = Shard()
    engine.admit(np.array([5, 9], np.int64))
    engine.reports[:] = [3, 4]
    engine.admit(np.array([7], np.int64))
    assert list(engine.device) == [5, 7, 9]
    assert list(engine.reports) == [3, 0, 4]


def test_each_transform_can_be_undone():
    for column, metric in enumerate(METRICS):
        x = np.full((1, len(METRICS)), 0.4)
        y = stabilise_variance(x)[0, column]
        assert restore_unit(float(y), metric.kind) == pytest.approx(0.4, abs=1e-9)


def test_shorter_ticks_need_more_to_be_flagged():
    assert threshold(1.0) == pytest.approx(1.7)
    assert threshold(HOURS) == pytest.approx(1.7 + np.log10(3600))
