"""A plan is checked before anything starts; devices behave by their seed."""

import json
import random

import pytest

from fleet.simulator import plan
from fleet.simulator.behaviour import FAULT_FACTOR, LEVELS, STRANGE, SimulatedBehaviour

DEVICE = {"name": "a", "token": "t", "hardware": "vib-node", "hw_class": "c", "images": {}}
PLAN = {
    "server": "https://localhost:1", "anchor": "a.pem", "tuf_root": "r.json", "folder": "f", "seed": 1, "poll_s": 1,
    "telemetry_s": 1, "devices": [DEVICE],
    "fault": {"device": "a", "after_ticks": 60, "component": "app", "when_version": "1"},
}  # fmt: skip


def written(tmp_path, facts):
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(facts))
    return path


def test_a_plan_is_read_whole(tmp_path):
    found = plan.read_plan(written(tmp_path, PLAN))
    assert (found.devices[0].name, found.fault.after_ticks, found.poll_s) == ("a", 60, 1.0)


@pytest.mark.parametrize("change", [{"devices": [{**DEVICE, "colour": "red"}]}, {"devices": [{}]}, {"fault": {"x": 1}}])
def test_a_plan_with_unknown_or_missing_fields_is_refused(tmp_path, change):
    with pytest.raises(ValueError, match="not a valid fleet plan"):
        plan.read_plan(written(tmp_path, {**PLAN, **change}))


@pytest.mark.parametrize("hardware", LEVELS)
def test_the_same_seed_behaves_the_same(hardware):
    one, two = (SimulatedBehaviour(hardware, random.Random(5)) for _ in range(2))
    assert [one.metrics(misbehaving=False) for _ in range(5)] == [two.metrics(misbehaving=False) for _ in range(5)]


def test_misbehaving_is_twentyfold_traffic_and_a_new_destination():
    calm, wild = (SimulatedBehaviour("vib-node", random.Random(5)) for _ in range(2))
    before, after = calm.metrics(misbehaving=False), wild.metrics(misbehaving=True)
    assert after["bytes_out"] == pytest.approx(FAULT_FACTOR * before["bytes_out"], rel=1e-3)
    assert after["temp_c"] == before["temp_c"]
    assert STRANGE in wild.peers(misbehaving=True)
    assert STRANGE not in wild.peers(misbehaving=False)
