"""Workers at the same rollout, on a database file as a server has it; some are killed at any moment."""

import json

import pytest

from ota import planning
from ota.planning import WavePlan
from tests.factories.processes import code_in_processes, killed_now_and_then
from tests.regressions import regression

MANY, FIRST, KILLED = 2000, 700, 3
SEED = f"""
from devices.models import Device, HardwareModel, Twin
from fleet.management.command_support import provide_signer
from fleet.management.benches.rollouts_inner import publish_release
from ota.models import Release, Rollout, Wave
from pki.kernel import ids
from pki.models import TrustDomain
domain = TrustDomain.objects.get()
model = HardwareModel.objects.create(domain=domain, name="n", vendor="v", vendor_id=ids.uuid7(), class_id=ids.uuid7())
devices = [Device(domain=domain, name=f"d-{{n}}", hardware_model=model, state="active") for n in range({MANY})]
Device.objects.bulk_create(devices)
Twin.objects.bulk_create([Twin(device=one) for one in devices])
with provide_signer():
    publish_release(model)
release = Release.objects.get()
rollout = Rollout.objects.create(
    domain=domain, name="r", release=release, state="preparing", success_permille=1, error_permille=1000)
Wave.objects.create(rollout=rollout, index=0, label="a", count={FIRST}, soak_s=0)
Wave.objects.create(rollout=rollout, index=1, label="b", share=1000, soak_s=0)
"""
WORK = """
from ota.models import Rollout, Wave
from ota.services import rollout_steps
from pki.models import TrustDomain
domain = TrustDomain.objects.get()
print("ready", flush=True)
while (rollout := Rollout.objects.get()).state != "aborted":
    # As if each had found the other one silent: nobody waits for a lease.
    Rollout.objects.filter(state="preparing").update(planned_at=None)
    if rollout.state == "draft":
        Rollout.objects.filter(state="draft").update(state="running")
        Wave.objects.filter(index=0, state="waiting").update(state="opening")
    if rollout.state == "running" and rollout.waves.first().state == "open":
        Rollout.objects.filter(state="running").update(state="aborting")
    rollout_steps.continue_steps(domain=domain, budget=rollout_steps.StepBudget(3))
"""
CHECK = """
import json
from collections import Counter
from devices.models import Twin
from ota.models import Assignment, AssignmentEvent, Rollout
from ota.selectors.rollouts import rollout_progress
from pki.models import LedgerEntry
rows = Assignment.objects.values_list("wave__index", "device__name", "status", "action_id")
print(json.dumps({
    "waves": [[name for index, name, _, _ in rows if index == wave] for wave in (0, 1)],
    "statuses": Counter(status for _, _, status, _ in rows),
    "counts": [one.groups for one in rollout_progress(Rollout.objects.get()).waves],
    "actions": len({number for _, _, _, number in rows}),
    "events": AssignmentEvent.objects.count(),
    "desired": Twin.objects.filter(desired__components__app__version="2.0.0").count(),
    "entries": Counter(LedgerEntry.objects.filter(action__startswith="rollout.").values_list("action", flat=True)),
}))
"""


@pytest.fixture
def start(tmp_path):
    with code_in_processes(tmp_path, acts=(("upgrade",), ("release", "online-keys"))) as run:
        yield run


@regression("N2", "two workers at one rollout, and workers that are killed at any moment")
def test_two_workers_of_which_some_are_killed_do_each_part_of_a_rollout_once(start):
    assert start(SEED).wait(60) == 0
    steady = start(WORK)
    doomed = killed_now_and_then(start, WORK, KILLED)
    assert (steady.wait(120), doomed.wait(120)) == (0, 0)
    seen = json.loads(start(CHECK).stdout.readline())
    plans = [WavePlan(count=FIRST), WavePlan(share=1000)]
    expected = planning.assign_waves("r", [f"d-{number}" for number in range(MANY)], plans)
    assert [sorted(one) for one in seen["waves"]] == [sorted(one) for one in expected]
    assert seen["statuses"] == {"canceled": MANY}
    assert seen["counts"] == [{"canceled": FIRST}, {"canceled": MANY - FIRST}]
    assert (seen["actions"], seen["events"], seen["desired"]) == (MANY, MANY, FIRST)
    assert seen["entries"] == {"rollout.prepared": 1, "rollout.wave-opened": 1, "rollout.aborted": 1}
