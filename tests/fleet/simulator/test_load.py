"""Crowds: every scenario pack is taken by a real gateway, whatever the devices do meanwhile."""

import csv
import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest

from devices import metrics
from devices.services import telemetry
from fleet.simulator import load, packs
from fleet.simulator.transports.datagrams import BadNetwork
from tests.factories.story import eventually


@pytest.mark.parametrize("name", packs.pack_names())
def test_a_pack_conforms_to_its_own_allow_list(name):
    pack = packs.load_pack(name)
    metrics.parse_schema(pack.telemetry)
    batch = telemetry.parse_batch(pack.batch(1, int(time.time() * 1000), random.Random(1)))
    metrics.check_metrics(pack.telemetry, [*batch.metrics, *batch.series])
    assert all(pack.telemetry[metric] == "on_device_only" for metric in pack.forbidden)


def test_an_unknown_pack_is_named():
    with pytest.raises(ValueError, match="Choose one of city, clinic, factory, farm"):
        packs.load_pack("moon")


class Stand:
    """Tokens for a few devices of a pack, and the command that lets them live."""

    def __init__(self, story, folder, name, transport, many=6):
        self.story, self.folder, self.pack = story, folder, packs.load_pack(name)
        found = [row for row in story.rest.get("/hardware-models")["results"] if row["name"] == self.pack.hardware]
        wish = {"name": self.pack.hardware, "vendor": self.pack.vendor}
        made = found[0] if found else story.rest.post("/hardware-models", wish)
        schema, form = json.dumps({"telemetry": self.pack.telemetry}).encode(), {"Content-Type": "application/json"}
        story.rest._call("PUT", f"/hardware-models/{made['id']}/telemetry", schema, form)
        self.names = [f"{name}-{transport}-{folder.name}-{number}" for number in range(many)]
        wish = {"hardware": self.pack.hardware, "devices": self.names}
        rows = story.rest.post("/enrolment-tokens", wish)["results"]
        with (folder / "tokens.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["device", "token"])
            writer.writerows([one, row["secret"]] for one, row in zip(self.names, rows, strict=True))
        self.command = [sys.executable, "-m", "fleet.simulator.load", "--server", story.server]
        self.command += ["--anchor", story.anchor, "--tokens", folder / "tokens.csv", "--dir", folder / "devices"]
        self.command += ["--pack", name, "--transport", transport, "--coap-port", story.settings["FLEET_COAP_PORT"]]

    def run(self, *more):
        command = [str(one) for one in (*self.command, "--seed", 3, *more)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=90)
        assert done.returncode == 0, done.stderr[-2000:]
        return json.loads(done.stdout)


@pytest.mark.xdist_group("listeners")
@pytest.mark.parametrize(
    ("name", "transport"), [*((name, "https") for name in packs.pack_names()), ("farm", "coaps"), ("factory", "oscore")]
)
def test_every_fault_leaves_the_listener_alive(story, tmp_path, name, transport):
    stand = Stand(story, tmp_path, name, transport, many=6 if transport == "https" else 20)
    pack = stand.pack
    said = stand.run("--seconds", 8, "--poll", 0.3, "--faults", "all", "--json", tmp_path / "said.json")
    assert json.loads((tmp_path / "said.json").read_text()) == said
    answers = said["answers"]
    # Over datagrams a lost one costs seconds.
    least = 50 if transport == "https" else 10
    assert answers["poll 200"] > least, said
    assert answers["telemetry 204"] > least, said
    taken = {"poll 200", "telemetry 204", "telemetry 400", "repeated 204", "repeated 400", "forbidden 403"}
    # Of exchanges whose datagrams are lost on purpose, a few end without an answer on a busy machine.
    unanswered = 0 if transport == "https" else sum(answers.pop(f"{kind} 0", 0) for kind in ("poll", "telemetry"))
    assert unanswered <= sum(answers.values()) // 20, said
    assert set(answers) <= taken, said
    if transport != "https":
        assert {"loss", "repeat", "shuffle"} <= set(said["faults"]), said
    assert len(said["faults"]) >= 5, said
    assert ("forbidden 403" in answers) == bool(pack.forbidden), said
    key = story.device(stand.names[0])["id"]
    if pack.series:
        metric = next(iter(pack.series))
        assert eventually(lambda: story.rest.get(f"/devices/{key}/telemetry?metric={metric}&since=0")["values"])
    for metric in pack.forbidden:
        assert story.rest.get(f"/devices/{key}/telemetry?metric={metric}&since=0")["values"] == []


@pytest.mark.xdist_group("listeners")
def test_an_interrupted_run_prints_its_summary(story, tmp_path):
    stand = Stand(story, tmp_path, "city", "https", many=2)
    command = [str(one) for one in (*stand.command, "--seconds", 60, "--poll", 0.2, "--faults", "pack")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    eventually(lambda: len(list((tmp_path / "devices").glob("*.pem"))) == 2)
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    out, told = process.communicate(timeout=20)
    assert json.loads(out)["answers"]["poll 200"] > 2
    assert "interrupted" in told


@pytest.mark.parametrize("option", ["--transport", "--carrier"])
def test_the_transport_is_chosen_by_either_name(option):
    given = ["--server", "https://a:1", "--anchor", "a", "--tokens", "t", "--dir", "d", option, "oscore"]
    assert load._parser().parse_args(given).transport == "oscore"


@pytest.mark.parametrize("name", packs.pack_names())
def test_what_goes_wrong_in_a_scenario_is_known_to_the_simulator(name):
    assert packs.load_pack(name).faults
    assert set(packs.load_pack(name).faults) <= set(load.FAULTS)


def test_a_bad_network_loses_repeats_and_shuffles_but_makes_nothing_up():
    played = Counter()
    network = BadNetwork(("loss", "repeat", "shuffle"), random.Random(1), played)
    sent = [number.to_bytes(2, "big") for number in range(2000)]
    came = [one for datagram in sent for one in network.passes(datagram)]
    assert set(came) < set(sent)
    assert min(played.values()) > 30
    assert len(came) in range(len(sent) - played["loss"] + played["repeat"] - 1, len(sent) + played["repeat"])
    assert came != sorted(came), "some came in another order"
