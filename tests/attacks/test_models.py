"""Rows M: models that came with golden vectors. Nobody keeps one that computes something else than its author saw."""

import hashlib
import json

import pytest

import ota.contract.interpreter
from fleet.agent import trial
from fleet.agent.slots import SlotImage
from ota.contract import golden
from ota.contract.golden import GoldenVector
from ota.measuring import vectors
from tests.attacks.table import attack
from tests.factories import models
from tests.fleet.agent.adversary import bundle, row

OLD, NEW = models.dense(seed=1), models.dense(seed=2)
GOLDEN = vectors.make_vectors(NEW)
WAKE = "model.wake"


def listed(data, path, role):
    return {"path": path, "size": len(data), "sha256": hashlib.sha256(data).hexdigest(), "role": role}


@pytest.fixture
def device(victim):
    """Return a device that runs an old model."""
    victim.provision(WAKE, OLD, SlotImage("0.9.0", hashlib.sha256(OLD).hexdigest(), 1))
    return victim


@pytest.fixture
def offers(thief):
    """Return a function by which officers have signed a model with vectors, and the director names it."""

    def run(data=NEW, vectors=GOLDEN):
        files = [listed(data, "m.tflite", "image"), listed(vectors, "golden.cbor", "golden")]
        one = bundle(data, id="wake", kind="model", format="tflite", component=WAKE, files=files)
        thief.release([one], version=3)
        thief.serve(data)
        thief.serve(vectors)
        thief.direct(rows=[row(one)])
        return f"/v1/blob/{files[1]['sha256']}"

    return run


def runs(device):
    return device.slots(WAKE).read_running()


def test_a_model_that_passes_its_vectors_is_kept_and_its_arena_told(offers, device):
    offers()
    assert device.tries() == ("confirmed", "")
    assert runs(device) == NEW
    assert device.told[-1]["components"][WAKE]["arena"] == 1264
    assert device._self_test() == "all components pass"


@attack("M1")
def test_a_model_that_computes_something_else_is_taken_back(offers, device):
    wrong = [
        GoldenVector(one.given, tuple(bytes([part[0] ^ 0x40]) + part[1:] for part in one.wanted))
        for one in golden.read_vectors(GOLDEN)
    ]
    offers(vectors=golden.write_vectors(wrong))
    said, reason = device.tries()
    assert said == "rolled-back"
    assert "golden vector 1 fails, off by 64" in reason
    assert runs(device) == OLD


@attack("M1")
def test_vectors_that_were_damaged_on_the_disk_prove_nothing(offers, device):
    offers()
    assert device.tries() == ("confirmed", "")
    [path] = [path for path in (device.settings.folder / "slots" / WAKE).glob("golden-?.cbor") if path.stat().st_size]
    path.write_bytes(vectors.make_vectors(OLD))
    with pytest.raises(trial.RefusedError, match="vectors on this disk are damaged"):
        device._self_test()


@attack("M2")
@pytest.mark.parametrize(
    "change", [lambda data: data[:-1], lambda _: vectors.make_vectors(OLD), lambda data: data + b"\0"]
)
def test_other_vectors_than_the_signed_ones(thief, offers, device, change):
    path = offers()
    thief.routes[path] = change(GOLDEN)
    said, reason = device.tries()
    assert said in {"refused", "unreachable"}, (said, reason)
    assert runs(device) == OLD


@attack("M3")
def test_a_model_that_kills_the_interpreter(offers, device):
    """Offsets that point out of the file: whatever the interpreter does with them, it does not to the agent."""
    for place in range(8, len(NEW), 97):
        broken = NEW[:place] + b"\xff\xff\xff\x7f" + NEW[place + 4 :]
        if trial._said(broken, GOLDEN) == {}:
            break
    else:
        pytest.fail("no model killed the child: the case is not tried")
    offers(data=broken)
    said, reason = device.tries()
    assert (said, "does not run" in reason) == ("rolled-back", True)
    assert runs(device) == OLD


def test_a_device_without_an_interpreter_keeps_nothing_that_it_cannot_try(offers, device, monkeypatch):
    monkeypatch.setattr(ota.contract.interpreter, "is_interpreter_installed", lambda: False)
    offers()
    said, reason = device.tries()
    assert (said, "no interpreter" in reason) == ("rolled-back", True)
    assert runs(device) == OLD


def test_the_child_answers_in_json(device):
    said = trial._said(NEW, GOLDEN)
    assert json.loads(json.dumps(said))["total"] == 1264
