"""Rows C: bundles that are installed together, in a thief's hands or on a failing device. All of it, or nothing."""

import hashlib

import pytest

from fleet.agent import together
from fleet.agent.agent import Agent
from fleet.agent.slots import Image
from ota.measuring import vectors
from pki.kernel import canonical
from tests.attacks.conftest import OLD
from tests.attacks.table import attack
from tests.factories import models
from tests.fleet.agent.adversary import IMAGE, bundle, row

WAKE = "model.wake"
OLD_MODEL, NEW_MODEL = models.dense(seed=1), models.dense(seed=2)
GOLDEN = vectors.make(NEW_MODEL)


def listed(data, path, role):
    return {"path": path, "size": len(data), "sha256": hashlib.sha256(data).hexdigest(), "role": role}


def model_of(paper=GOLDEN, **changes):
    files = [listed(NEW_MODEL, "m.tflite", "image"), listed(paper, "golden.cbor", "golden")]
    facts = {"id": "wake", "kind": "model", "format": "tflite", "component": WAKE, "files": files}
    return bundle(NEW_MODEL, **{**facts, **changes})


def named(one, **changes):
    digest = hashlib.sha256(canonical.dumps(one)).hexdigest()
    return {**{name: one[name] for name in ("component", "id", "version")}, "digest": digest, **changes}


class Set:
    """Firmware and model that belong together, signed, listed and served, and the composite that names both."""

    def __init__(self, thief):
        self.thief, self.version = thief, 2

    def offer(self, parts=None, listed_=None, **further):
        """Let officers sign the bundles, and the director name the composite; ``parts`` are what it names."""
        self.version += 1
        signed = [bundle(), model_of()] if listed_ is None else listed_
        data = canonical.dumps({"schema": 1, "version": "1.0.0", "parts": parts or [named(one) for one in signed]})
        files = [listed(data, "parts.json", "image")]
        whole = bundle(data, id="site", kind="composite", format="composite", component="composite", files=files)
        self.thief.release([*signed, whole], version=self.version, **further)
        for one in (data, IMAGE, NEW_MODEL, GOLDEN):
            self.thief.serve(one)
        self.thief.direct(rows=[row(whole)])
        return whole


@pytest.fixture
def site(thief):
    return Set(thief)


@pytest.fixture
def device(victim):
    """Return a device with firmware and model of the factory."""
    victim.provision(WAKE, OLD_MODEL, Image("0.9.0", hashlib.sha256(OLD_MODEL).hexdigest(), 2))
    return victim


def runs(device):
    return device.slots("app").read_running(), device.slots(WAKE).read_running()


def test_all_parts_are_installed_and_confirmed_together(site, device):
    site.offer()
    assert device.tries() == ("confirmed", "")
    assert runs(device) == (IMAGE, NEW_MODEL)
    reported = device.told[-1]["components"]
    assert {name: one["confirmed"] for name, one in reported.items()} == {"app": True, WAKE: True, "composite": True}
    assert reported[WAKE]["arena"] == 1264
    assert device._self_test() == "all components pass"
    # Again: everything runs already, so nothing is fetched.
    asked = len(site.thief.asked)
    assert device.tries() == ("confirmed", "")
    assert not [path for path, _ in site.thief.asked[asked:] if path.startswith("/v1/blob/")]


def kept_out(device, words, state="rolled-back"):
    said, reason = device.tries()
    assert (said, words in reason) == (state, True), (said, reason)
    assert runs(device) == (OLD, OLD_MODEL)
    assert device.slots("composite").running is None
    assert all(one["confirmed"] for one in device.components().values())


@attack("C1")
def test_a_part_that_nobody_signed(site, device):
    evil = bundle(id="evil")
    site.offer(parts=[named(evil), named(model_of())])
    kept_out(device, "was never signed by the release officers")


@attack("C1")
def test_a_part_with_other_content_than_is_listed(site, device):
    site.offer(parts=[named(bundle(), digest="0" * 64), named(model_of())])
    kept_out(device, "signed with other content than the composite names")


@attack("C1")
def test_a_part_that_was_withdrawn(site, device):
    site.offer(withdrawn={"app/app/1.0.0/bundle.json": "bad wave"})
    kept_out(device, "withdrawn by the release officers: bad wave")


@attack("C1")
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"audience": ["lab"]}, "is not signed for production"),
        ({"hw": [{"vendor_id": "x", "class_id": "other", "name": "other"}]}, "other hardware"),
        ({"requires": [{"component": "app", "min_counter": 4}]}, "needs app with a counter of at least 4"),
        ({"requires": [{"component": "radio", "min_counter": 1}]}, "nothing runs there"),
    ],
)
def test_a_part_that_is_not_for_this_device(site, device, changes, words):
    site.offer(listed_=[bundle(), model_of(**changes)])
    kept_out(device, words)


@attack("C1")
def test_a_part_below_the_floor(site, device):
    site.offer(floors={WAKE: {device.settings.hw_class: 9}})
    kept_out(device, "a floor of 9")


@attack("C1")
@pytest.mark.parametrize("parts", [[], [named(bundle())], [named(bundle()), named(bundle(id="b"))], [{}, {}], "all"])
def test_a_list_that_names_nothing_sensible(site, device, parts):
    site.offer(parts=parts or [1])
    kept_out(device, "malformed")


def test_what_is_needed_beside_a_part_may_come_as_another_part(site, device):
    site.offer(listed_=[bundle(), model_of(requires=[{"component": "app", "min_counter": 3}])])
    assert device.tries() == ("confirmed", "")


@attack("C2")
def test_a_model_that_fails_takes_the_firmware_back_with_it(site, thief, device):
    other = vectors.make(OLD_MODEL)
    thief.serve(other)
    site.offer(listed_=[bundle(), model_of(other)])
    kept_out(device, "golden vector 1 fails")


@attack("C2")
@pytest.mark.parametrize("after", range(4))
def test_power_that_fails_between_the_parts_leaves_all_old_or_ends_in_all_new(site, device, monkeypatch, after):
    """The power fails after so many writes to the slots; then the device starts again with what its disk holds."""
    site.offer()
    left = [after]

    def write(pair, image):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return swap(pair, image)

    swap = together.Slots.swap
    monkeypatch.setattr(together.Slots, "swap", write)
    try:
        device.tries()
    except KeyboardInterrupt:
        pass
    else:
        assert after == 3
    monkeypatch.setattr(together.Slots, "swap", swap)
    assert device.tries() == ("confirmed", "")
    assert runs(device) == (IMAGE, NEW_MODEL)


@attack("C2")
def test_what_was_never_confirmed_is_taken_back_when_nobody_offers_it_any_more(site, thief, device, monkeypatch):
    site.offer()
    monkeypatch.setattr(Agent, "_test", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        device.tries()
    assert runs(device) == (IMAGE, NEW_MODEL)
    monkeypatch.undo()
    thief.routes["/v1/poll"] = b"\xa1\x64next\x01"
    device.told.clear()
    device.step()
    assert runs(device) == (OLD, OLD_MODEL)
    assert all(one["confirmed"] for one in device.told[0]["components"].values())
