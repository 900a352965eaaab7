"""Workers sweep at once while devices poll and leave, and one is killed at any moment: words and counts are right."""

import json
from contextlib import nullcontext

import pytest

from tests.factories.processes import code_in_processes, killed_now_and_then
from tests.regressions import regression
from tests.upgrades.postgres import running_server

MANY, KILLED = 400, 3
SEED = f"""
from devices.models import Device, HardwareModel
from devices.services import fleet_counts
from pki.kernel import ids
from pki.models import TrustDomain
domain = TrustDomain.objects.get()
model = HardwareModel.objects.create(domain=domain, name="n", vendor="v", vendor_id=ids.uuid7(), class_id=ids.uuid7())
Device.objects.bulk_create(
    [Device(domain=domain, name=f"d-{{n}}", hardware_model=model, state="active") for n in range({MANY})])
fleet_counts.recount_fleet(domain=domain)
"""
WORK = """
from devices.services import presence_words
from pki.models import TrustDomain
presence_words.BATCH = 20
domain = TrustDomain.objects.get()
print("ready", flush=True)
while True:
    presence_words.keep_presence()
    presence_words.check_presence(domain=domain)
"""
LIVE = """
import random
from datetime import timedelta
from django.conf import settings
from django.db import transaction
from devices.models import Device
from devices.services import observed, registry
from fleet.management.command_support import command_actor
from pki.kernel import clock
source, poll = random.Random(7), timedelta(seconds=settings.FLEET_POLL_S)
keys = list(Device.objects.values_list("pk", flat=True))
for turn in range(60):
    # In the order of what a listener writes: some have just polled, of others it was long ago.
    some = {key: (clock.now() - poll * source.choice([0, 0, 2, 5]), "192.0.2.1") for key in source.sample(keys, 80)}
    with transaction.atomic(using="telemetry"):
        observed.write_contacts(some)
    device = Device.objects.get(pk=source.choice(keys))
    if turn % 3 == 0 and device.state != "retired":
        registry.retire_device(actor=command_actor("default"), device=device)
"""
CHECK = """
import json
from collections import Counter
from dataclasses import asdict
from devices import selectors
from devices.models import Device, Presence
from devices.services import presence_words
from fleet.management.command_support import command_actor
from pki.models import TrustDomain
domain = TrustDomain.objects.get()
presence_words.keep_presence()
known = dict(Presence.objects.values_list("device_id", "word"))
rows = list(Device.objects.values_list("pk", "state", "presence"))
print(json.dumps({
    "differing": presence_words.check_presence(domain=domain),
    "outdated": presence_words.sweep_presence(),
    "retired": sorted({word for _, state, word in rows if state == "retired"}),
    "wrong": [key for key, state, word in rows if state != "retired" and known.get(key, "never") != word],
    "kept": asdict(selectors.device_counts(actor=command_actor("default"))),
    "real": Counter(word for _, state, word in rows if state != "retired"),
}))
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def start(request, tmp_path):
    server = running_server() if request.param == "postgresql" else nullcontext("")
    with server as address, code_in_processes(tmp_path, address) as run:
        yield run


@regression("N1", "two workers that sweep presence, of which one is killed at any moment")
def test_words_and_counts_are_right_whoever_swept_and_whoever_was_killed(start):
    assert start(SEED).wait(60) == 0
    steady, fleet = start(WORK), start(LIVE)
    doomed = killed_now_and_then(start, WORK, KILLED)
    assert fleet.wait(300) == 0
    for one in (steady, doomed):
        assert one.poll() is None
        one.kill()
        one.wait(10)
    seen = json.loads(start(CHECK).stdout.readline())
    assert (seen["differing"], seen["outdated"], seen["wrong"], seen["retired"]) == (0, 0, [], [""])
    assert seen["kept"]["devices"] == sum(seen["real"].values()) < MANY
    assert {word: seen["kept"][word] for word in seen["real"]} == seen["real"]
