"""Rows C: bundles that are installed together, in a thief's hands or on a failing device. All of it, or nothing."""

import hashlib
import shutil

import cbor2
import pytest

from fleet.agent import config, selftest, trial, wiping
from fleet.agent.errors import AnswerError, RefusedError, TransportError
from fleet.agent.slots import SlotImage, Slots
from fleet.officer import keys
from ota.measuring import vectors
from ota.trust import documents
from ota.trust.repository import bin_of
from pki.kernel import canonical, clock
from tests.attacks.conftest import OLD
from tests.attacks.table import attack
from tests.factories import models
from tests.fleet.agent.adversary import IMAGE, bundle, row

WAKE = "model.wake"
OLD_MODEL, NEW_MODEL = models.dense(seed=1), models.dense(seed=2)
GOLDEN = vectors.make_vectors(NEW_MODEL)


def listed(data, path, role):
    return {"path": path, "size": len(data), "sha256": hashlib.sha256(data).hexdigest(), "role": role}


def model_of(vectors=GOLDEN, **changes):
    files = [listed(NEW_MODEL, "m.tflite", "image"), listed(vectors, "golden.cbor", "golden")]
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
    victim.provision(WAKE, OLD_MODEL, SlotImage("0.9.0", hashlib.sha256(OLD_MODEL).hexdigest(), 2))
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


def kept_out(device, words, state="refused"):
    said, reason = device.tries()
    assert (said, words in reason) == (state, True), (said, reason)
    assert runs(device) == (OLD, OLD_MODEL)
    assert device.slots("composite").running is None
    assert all(one["confirmed"] for one in device.components().values())


@attack("C1")
def test_a_part_that_nobody_signed(site, device):
    evil = bundle(id="evil")
    site.offer(parts=[named(evil), named(model_of())])
    kept_out(device, "is not signed by the release officers")


@attack("C1")
def test_a_part_with_other_content_than_is_listed(site, device):
    site.offer(parts=[named(bundle(), digest="0" * 64), named(model_of())])
    kept_out(device, "signed with a digest that differs from the composite")


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
        ({"requires": [{"component": "app", "min_counter": 4}]}, "requires app with a security counter of at least 4"),
        ({"requires": [{"component": "radio", "min_counter": 1}]}, "nothing is installed"),
    ],
)
def test_a_part_that_is_not_for_this_device(site, device, changes, words):
    site.offer(listed_=[bundle(), model_of(**changes)])
    kept_out(device, words)


@attack("C1")
def test_a_part_below_the_floor(site, device):
    site.offer(floors={WAKE: {device.settings.hw_class: 9}})
    kept_out(device, "below the signed floor of 9")


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
    other = vectors.make_vectors(OLD_MODEL)
    thief.serve(other)
    site.offer(listed_=[bundle(), model_of(other)])
    kept_out(device, "golden vector 1 fails", "rolled-back")


def whole_or_nothing(device):
    """Say whether all the new runs; it has to be that, or all the old, and everything kept for good."""
    assert all(one["confirmed"] for one in device.components().values())
    now = (*runs(device), device.slots("composite").running is not None)
    assert now in {(OLD, OLD_MODEL, False), (IMAGE, NEW_MODEL, True)}, now
    return now[2]


@attack("C2")
def test_power_that_fails_at_any_write_leaves_all_old_or_all_new_whatever_the_server_says_then(
    site, device, monkeypatch
):
    """The device starts with what its disk holds, and settles before it asks anybody: the server may be silent."""
    site.offer()
    written, places, write, ends = [], [], Slots._write, set()

    def failing(pair, state):
        if len(written) == places[-1]:
            raise KeyboardInterrupt
        written.append(pair)
        write(pair, state)

    while True:
        places.append(len(places))
        for name in ("app", WAKE, "composite"):
            shutil.rmtree(device.settings.folder / "slots" / name, ignore_errors=True)
        device.provision("app", OLD, SlotImage("0.9.0", hashlib.sha256(OLD).hexdigest(), 2))
        device.provision(WAKE, OLD_MODEL, SlotImage("0.9.0", hashlib.sha256(OLD_MODEL).hexdigest(), 2))
        written.clear()
        monkeypatch.setattr(Slots, "_write", failing)
        try:
            device.tries()
        except KeyboardInterrupt:
            failed = True
        else:
            failed = False
        monkeypatch.setattr(Slots, "_write", write)
        device._recover()
        ends.add(whole_or_nothing(device))
        if not failed:
            break
        assert device.tries() == ("confirmed", "")
        assert whole_or_nothing(device)
    assert places == list(range(8))  # three swaps, three confirmations, the end of the set; and once whole
    assert ends == {True, False}


@attack("C2")
def test_parts_that_came_are_not_fetched_again(site, thief, device):
    """One part breaks off; what lies in the slot already is not asked for a second time."""
    site.offer()
    model = f"/v1/blob/{hashlib.sha256(NEW_MODEL).hexdigest()}"
    good = thief.routes.pop(model)
    assert device.tries()[0] == "unreachable"
    assert whole_or_nothing(device) is False
    thief.routes[model] = good
    asked = len(thief.asked)
    assert device.tries() == ("confirmed", "")
    blobs = [path for path, _ in thief.asked[asked:] if path.startswith("/v1/blob/")]
    assert f"/v1/blob/{hashlib.sha256(IMAGE).hexdigest()}" not in blobs


@attack("C2")
def test_trouble_that_is_no_refusal_takes_back_as_well(site, device, monkeypatch):
    site.offer()
    monkeypatch.setattr(trial.subprocess, "run", lambda *_, **__: (_ for _ in ()).throw(OSError("no memory to fork")))
    kept_out(device, "does not run", "rolled-back")


@attack("C1")
def test_a_part_that_calls_itself_another(site, device):
    """Officers have signed, under the name of one bundle, the content of another."""
    site.version += 1
    files = [listed(IMAGE, "app.bin", "image")]
    odd = bundle(id="odd", files=files)
    text = canonical.dumps(odd)
    parts = [
        {"component": "app", "id": "app", "version": "9.0.0", "digest": hashlib.sha256(text).hexdigest()},
        named(model_of()),
    ]
    whole = site.offer(parts=parts, listed_=[bundle(), model_of()])
    role = {bin_of(site.thief.targets.signed, "app/app/9.0.0/bundle.json")}.pop()
    entry = documents.ListedBundle("app/app/9.0.0/bundle.json", text)
    made = documents.unsigned_bin(site.thief.bins[role].signed, [entry], site.version + 1, clock.now())
    for officer in ("anna", "bruno"):
        made.sign(keys.load_signer(site.thief.folder / f"{officer}.key"), append=True)
    site.thief.bins[role] = made
    site.thief.routes[f"/v1/metadata/app/app/9.0.0/{hashlib.sha256(text).hexdigest()}.bundle.json"] = text
    site.thief.publish(site.version + 1, site.version + 1)
    site.thief.direct(rows=[row(whole)])
    kept_out(device, "contains the bundle of another path")


class TestAlone:
    """Single components: what was kept is never left for a worse one, whatever is offered and whenever power fails."""

    def offer(self, thief, version, one, data=None):
        thief.release([one], version=version)
        if data is not None:
            thief.serve(data)
        thief.direct(rows=[row(one)])

    @attack("C3")
    def test_what_runs_is_not_tested_again_because_it_is_offered_again(self, victim, monkeypatch):
        assert victim.tries() == ("confirmed", "")
        monkeypatch.setattr(
            selftest, "check_image", lambda *_: (_ for _ in ()).throw(RefusedError("self-test: the line lies"))
        )
        assert victim.tries() == ("confirmed", "")
        assert victim.installed == IMAGE

    @attack("C3")
    def test_an_image_on_probation_is_taken_back_before_another_is_written_over_what_ran(
        self, thief, victim, monkeypatch
    ):
        check = selftest.check_image
        monkeypatch.setattr(selftest, "check_image", lambda *_: (_ for _ in ()).throw(TransportError("cut")))
        assert victim.tries()[0] == "unreachable"
        assert victim.installed == OLD
        monkeypatch.setattr(selftest, "check_image", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            victim.tries()
        assert victim.installed == IMAGE
        monkeypatch.setattr(selftest, "check_image", check)
        bad = b"no image at all"
        self.offer(thief, 3, bundle(bad, version="1.1.0"), bad)
        said, _ = victim.tries()
        assert (said, victim.installed) == ("rolled-back", OLD)
        assert victim.slots("app").confirmed

    def test_nothing_is_swapped_or_forgotten_while_what_runs_is_on_probation(self, victim):
        pair = victim.slots("app")
        pair.inactive.write_bytes(b"x")
        pair.swap(SlotImage("1", hashlib.sha256(b"x").hexdigest(), 1))
        for act in (pair.clear, lambda: pair.swap(SlotImage("2", "11", 1))):
            with pytest.raises(RefusedError, match="on probation"):
                act()
        pair.roll_back()
        pair.roll_back()
        assert victim.installed == OLD

    @attack("C3")
    def test_a_component_is_not_replaced_under_another_that_needs_it(self, victim):
        victim.provision(
            "radio", b"r", SlotImage("1.0.0", hashlib.sha256(b"r").hexdigest(), 1, requires=[["app", 5, None]])
        )
        said, reason = victim.tries()
        assert (said, victim.installed) == ("refused", OLD)
        assert "the installed radio requires app with a security counter of at least 5" in reason

    def test_the_same_bytes_under_a_higher_counter_need_not_come_again(self, thief, victim):
        assert victim.tries() == ("confirmed", "")
        self.offer(thief, 3, bundle(version="1.0.1", security_counter=4))
        asked = len(thief.asked)
        assert victim.tries() == ("confirmed", "")
        assert victim.components()["app"]["counter"] == 4
        assert not [path for path, _ in thief.asked[asked:] if path.startswith("/v1/blob/")]

    def test_what_was_taken_back_is_told_when_nothing_else_is_said(self, thief, victim, monkeypatch):
        monkeypatch.setattr(selftest, "check_image", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            victim.tries()
        monkeypatch.undo()
        thief.routes["/v1/poll"] = b"\xa1\x64next\x01"
        victim.told.clear()
        victim.step()
        assert victim.installed == OLD
        assert victim.told[0]["components"]["app"]["version"] == "0.9.0"

    @attack("C3")
    def test_an_order_to_erase_is_followed_though_nobody_hears_of_it(self, thief, victim, monkeypatch):
        """The report is lost; and another time the power fails before the order is followed."""
        root = victim.settings.anchor.read_text()
        document = {
            "schema": 1,
            "version": "1.0.0",
            "anchors": [root],
            "wipe": [victim.public_id],
            "policy_keys": ["ab" * 32],
        }
        data = canonical.dumps(document)
        files = [listed(data, "config.json", "image")]
        one = bundle(data, id="anchors", kind="config", format="config", component="config", files=files)
        monkeypatch.setattr(config, "try_configuration", lambda *_: None)  # the server has no TLS here
        self.offer(thief, 3, one, data)
        victim._recover()
        follow = victim._follow
        monkeypatch.setattr(victim, "_follow", lambda: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            victim.tries()
        assert not victim.erased
        monkeypatch.setattr(victim, "_follow", follow)
        victim._followed = False  # as after a start
        thief.close()  # nobody answers any more
        victim.step()
        assert victim.erased
        assert not list(victim.settings.folder.iterdir())

    @attack("C3")
    def test_an_erasure_that_power_cut_off_is_finished(self, victim, monkeypatch):
        """Whatever went first: key, certificate, images or the order itself."""
        folder = victim.settings.folder
        (folder / "chain.pem").write_text("x")
        for name in sorted(path.name for path in folder.iterdir()):
            monkeypatch.setattr(wiping.Path, "iterdir", lambda place, first=name: iter([place / first]))
            monkeypatch.setattr(wiping.Path, "unlink", _stopped(wiping.Path.unlink, folder / wiping.MARK))
            with pytest.raises(KeyboardInterrupt):
                wiping.erase_folder(folder)
            monkeypatch.undo()
            assert not (folder / name).exists()
            assert wiping.wipe_begun(folder)
        victim.step()
        assert victim.erased
        assert not list(folder.iterdir())

    def test_a_refusal_is_told_until_it_was_heard(self, thief, victim):
        thief.serve(b"")
        bad = b"no image at all"
        self.offer(thief, 3, bundle(bad, version="1.1.0"), bad)
        heard = thief.routes["/v1/report"]
        lost = []

        def deaf(handler, body):
            lost.append(body)
            state = cbor2.loads(cbor2.loads(body)["payload"]).get("state")
            handler.whole(b"", 503 if state == "rolled-back" else 200)

        thief.routes["/v1/report"] = deaf
        with pytest.raises((TransportError, AnswerError)):
            victim.update(7)
        thief.routes["/v1/report"] = heard
        victim.told.clear()
        victim.update(7)
        assert [(one["action"], one["state"]) for one in victim.told] == [(7, "rolled-back")]
        victim.update(7)
        assert len(victim.told) == 1

    def test_a_set_may_replace_one_that_needs_what_it_replaces(self, site, device):
        old = device.slots("composite")
        old.provision(b"{}", SlotImage("0.9.0", hashlib.sha256(b"{}").hexdigest(), 1, requires=[["app", 2, 2]]))
        site.offer()
        assert device.tries() == ("confirmed", "")

    def test_what_an_older_agent_did_not_keep_is_learnt_without_fetching_it(self, thief, victim):
        """Requirements stand beside the image since this version: the same bundle is written once more."""
        one = bundle(requires=[{"component": "app", "min_counter": 1}])
        self.offer(thief, 3, one, IMAGE)
        assert victim.tries() == ("confirmed", "")
        pair = victim.slots("app")
        state = pair._read()
        state[state["active"]]["requires"] = []
        pair._write(state)
        asked = len(thief.asked)
        assert victim.tries() == ("confirmed", "")
        assert pair.running.requires == [["app", 1, None]]
        assert not [path for path, _ in thief.asked[asked:] if path.startswith("/v1/blob/")]


def _stopped(unlink, mark):
    """Return what removes a file as ever, and ends everything before the mark goes."""

    def run(path, *, missing_ok=False):
        if path == mark:
            raise KeyboardInterrupt
        return unlink(path, missing_ok=missing_ok)

    return run
