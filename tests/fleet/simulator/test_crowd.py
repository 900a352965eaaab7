"""Crowds: every scenario pack is taken by a real door, whatever the devices do meanwhile."""

import csv
import json
import random
import subprocess
import sys
import time

import pytest

from devices import metrics
from devices.services import telemetry
from fleet.simulator import packs
from tests.factories.story import eventually


@pytest.mark.parametrize("name", packs.names())
def test_a_pack_conforms_to_its_own_allow_list(name):
    pack = packs.load(name)
    metrics.schema(pack.telemetry)
    batch = telemetry.parse(pack.batch(1, int(time.time() * 1000), random.Random(1)))
    metrics.check(pack.telemetry, [*batch.metrics, *batch.series])
    assert all(pack.telemetry[metric] == "on_device_only" for metric in pack.forbidden)


def test_an_unknown_pack_is_named():
    with pytest.raises(ValueError, match="there are city, clinic, factory, farm"):
        packs.load("moon")


@pytest.mark.xdist_group("doors")
@pytest.mark.parametrize("name", packs.names())
def test_a_crowd_with_every_fault_lives_with_the_door(story, tmp_path, name):
    pack = packs.load(name)
    made = story.rest.post("/hardware-models", {"name": pack.hardware, "vendor": pack.vendor})
    schema = json.dumps({"telemetry": pack.telemetry}).encode()
    story.rest._call("PUT", f"/hardware-models/{made['id']}/telemetry", schema, {"Content-Type": "application/json"})
    names = [f"{name}-{number}" for number in range(6)]
    rows = story.rest.post("/enrolment-tokens", {"hardware": pack.hardware, "devices": names})["results"]
    with (tmp_path / "tokens.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["device", "token"])
        writer.writerows([one, row["secret"]] for one, row in zip(names, rows, strict=True))
    command = [sys.executable, "-m", "fleet.simulator.crowd", "--server", story.server, "--anchor", story.anchor]
    command += ["--tokens", tmp_path / "tokens.csv", "--dir", tmp_path / "crowd", "--pack", name]
    command += ["--seconds", "8", "--poll", "0.3", "--faults", "all", "--seed", "3"]
    done = subprocess.run([str(one) for one in command], capture_output=True, text=True, check=False, timeout=90)
    assert done.returncode == 0, done.stderr[-2000:]
    said = json.loads(done.stdout)
    answers = said["answers"]
    assert answers["poll 200"] > 50, said
    assert answers["telemetry 204"] > 50, said
    taken = {"poll 200", "telemetry 204", "telemetry 400", "repeated 204", "repeated 400", "forbidden 403"}
    assert set(answers) <= taken, said
    assert len(said["faults"]) >= 5, said
    assert ("forbidden 403" in answers) == bool(pack.forbidden), said
    key = story.device(names[0])["id"]
    if pack.series:
        metric = next(iter(pack.series))
        assert eventually(lambda: story.rest.get(f"/devices/{key}/telemetry?metric={metric}&since=0")["values"])
    for metric in pack.forbidden:
        assert story.rest.get(f"/devices/{key}/telemetry?metric={metric}&since=0")["values"] == []
