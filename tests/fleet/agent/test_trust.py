"""What a device believes while every online key of its server is in an attacker's hands (rows of the attack table)."""

import contextlib
import hashlib
import json
from datetime import timedelta

import pytest
from tuf.api.metadata import Key, Metadata, Root, Targets

from fleet.agent.errors import RefusedError, TransportError
from fleet.agent.state import StateFile
from fleet.officer import keys as officer_keys
from fleet.officer import metadata
from ota.contract.field_names import BIN_FIELD
from ota.trust import documents
from pki.kernel import canonical, clock
from tests.fleet.agent.adversary import DEVICE, HARDWARE, IMAGE, _signer, bundle, path_of
from tests.regressions import regression


@pytest.fixture
def ask(adversary, tmp_path):
    """Return what the device does when it asks for its assignment."""
    folder = tmp_path / "device"
    folder.mkdir(mode=0o700)

    def once():
        trust, line = adversary.trust(folder)
        try:
            return trust.assignment(DEVICE)
        finally:
            line.close()

    return once


def test_what_officers_signed_and_the_director_assigned_is_taken(ask):
    found = ask()
    assert (found.action, found.component, found.length, found.counter) == (7, "app", len(IMAGE), 3)


def test_without_an_assignment_nothing_is_installed(adversary, ask):
    adversary.direct(rows=[])
    assert ask() is None


@regression("R4", "metadata that change on the disk after they were verified")
def test_metadata_on_the_disk_are_not_trusted_after_they_were_verified(adversary, ask, tmp_path):
    honest = adversary.routes["/v1/director"]

    def swapped(handler, body):
        for name in ("root", "timestamp", "snapshot", "targets"):
            path = tmp_path / "device" / "tuf" / f"{name}.json"
            path.unlink()
            path.write_bytes(b"{}")
        honest(handler, body)

    adversary.routes["/v1/director"] = swapped
    assert ask().action == 7


def refused(ask, words):
    with pytest.raises(RefusedError, match=words):
        ask()


def test_an_image_that_people_never_signed_is_refused(adversary, ask):
    adversary.direct(rows=[{**adversary.row, "target": "app/evil/9.9.9/evil.bin"}])
    refused(ask, "not signed by the release officers")


@pytest.mark.parametrize("change", [{"sha256": "0" * 64}, {"length": 1}])
def test_a_director_that_tells_other_bytes_than_people_signed_is_refused(adversary, ask, change):
    adversary.direct(rows=[{**adversary.row, **change}])
    refused(ask, "differ about")


def test_a_signed_image_for_other_hardware_is_refused(adversary, ask):
    other = {"vendor_id": HARDWARE, "class_id": "another class", "name": "other"}
    made = bundle(hw=[other])
    adversary.release([made], version=3)
    refused(ask, "other hardware")
    adversary.direct(rows=[{**adversary.row, "hw": "another class"}])
    refused(ask, "other hardware")


@pytest.mark.parametrize("audience", [["lab"], ["lab", "canary"], []])
def test_an_image_that_is_signed_for_others_is_refused(adversary, ask, audience):
    adversary.release([bundle(audience=audience)], version=3)
    refused(ask, "not signed for production")


@regression("R12", "the director names another version than officers signed")
def test_a_director_that_names_another_version_is_refused(adversary, ask):
    adversary.direct(rows=[{**adversary.row, "version": "99.9.9-patched"}])
    refused(ask, "signed with version '1.0.0', but the director names another one")


@pytest.mark.parametrize("change", [{"component": "boot"}, {"counter": 99}])
def test_a_director_that_moves_an_image_elsewhere_is_refused(adversary, ask, change):
    adversary.direct(rows=[{**adversary.row, **change}])
    refused(ask, "another component or security counter")


@pytest.mark.parametrize("officers", [(), ("anna",), ("anna", "anna")])
def test_targets_of_fewer_than_two_officers_are_refused(adversary, ask, officers):
    adversary.release([bundle()], officers, version=3)
    refused(ask, "cannot be trusted")


def test_a_director_signed_by_another_key_is_refused(adversary, ask):
    adversary.direct(signer=_signer())
    refused(ask, "not signed by a key in the TUF root")
    adversary.direct(signer=adversary.online["timestamp"])
    refused(ask, "not signed by a key in the TUF root")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"device": "another"}, "another device"),
        ({"nonce": "00" * 16}, "not the answer to this request"),
        ({"version": 0}, "older than a previous one"),
        ({"expires": "2020-01-01T00:00:00Z"}, "expired"),
        ({"_type": "time"}, "another device"),
        ({"assignments": [{}]}, "malformed"),
        ({"assignments": "all"}, "malformed"),
        ({"version": "2"}, "malformed"),
    ],
)
def test_a_director_document_that_is_not_fresh_and_ours_is_refused(adversary, ask, change, words):
    adversary.direct(**change)
    refused(ask, words)


def test_a_replayed_director_document_is_refused(adversary, ask):
    ask()
    adversary.version = 0
    refused(ask, "older than a previous one")


def test_older_metadata_is_refused_once_newer_was_seen(adversary, ask):
    old = dict(adversary.routes)
    adversary.release([bundle()], version=3)
    ask()
    adversary.routes.update({name: old[name] for name in old if "metadata" in name})
    refused(ask, "cannot be trusted")


def test_stolen_keys_cannot_bring_older_targets_back(adversary, ask):
    adversary.release([bundle()], version=3)
    ask()
    adversary.publish(4, 4, names={"targets": 2})
    refused(ask, "cannot be trusted")


def test_an_expired_timestamp_is_refused(adversary, ask):
    adversary.publish(2, 3, timestamp_at=clock.now() - timedelta(days=2))
    refused(ask, "cannot be trusted|expired")


def test_a_clock_set_back_does_not_bring_expired_documents_to_life(adversary, ask, tmp_path):
    ask()
    state = StateFile(tmp_path / "device")
    state.put(signed_time=(clock.now() + timedelta(days=30)).isoformat())
    refused(ask, "expired")


def test_what_people_have_withdrawn_is_refused(adversary, ask):
    adversary.release([bundle()], version=3, withdrawn={path_of(bundle()): "it bricks boards"})
    refused(ask, "withdrawn by the release officers: it bricks boards")


@pytest.mark.parametrize(("floor", "taken"), [(3, True), (4, False)])
def test_only_people_set_the_floor_below_which_nothing_is_installed(adversary, ask, floor, taken):
    adversary.release([bundle()], version=3, floors={"app": {HARDWARE: floor}, "boot": {HARDWARE: 9}})
    if taken:
        assert ask().counter == 3
    else:
        refused(ask, "below the signed floor of 4")


def test_a_floor_of_the_directors_own_is_none(adversary, ask):
    adversary.direct(floors={"app": {HARDWARE: 2**31 - 1}})
    assert ask().counter == 3


@pytest.mark.parametrize(
    ("need", "runs", "words"),
    [
        ({"min_counter": 2}, {}, "nothing is installed"),
        ({"min_counter": 2}, {"boot": 1}, "counter 1 is installed"),
        ({"min_counter": 2, "max_counter": 4}, {"boot": 5}, "of 2 to 4, but counter 5 is installed"),
        ({"min_counter": 2, "max_counter": 4}, {"boot": 4}, ""),
    ],
)
def test_what_needs_another_component_is_refused_without_it(adversary, tmp_path, need, runs, words):
    made = bundle(requires=[{"component": "boot", **need}])
    adversary.release([made], version=3)
    trust, line = adversary.trust(tmp_path / "device")
    try:
        if words:
            with pytest.raises(RefusedError, match=words):
                trust.assignment(DEVICE, runs)
        else:
            assert trust.assignment(DEVICE, runs).component == "app"
    finally:
        line.close()


@pytest.mark.parametrize("change", [lambda text: text + b" ", lambda text: text.replace(b"lab", b"bal")])
def test_a_bundle_json_that_was_changed_is_refused(adversary, ask, change):
    adversary.release([bundle(audience=["production", "lab"])], version=3)
    digest = hashlib.sha256(canonical.dumps(bundle(audience=["production", "lab"]))).hexdigest()
    name = f"/v1/metadata/app/app/1.0.0/{digest}.bundle.json"
    adversary.routes[name] = change(adversary.routes[name])
    refused(ask, "cannot be trusted")


def test_a_bundle_that_people_signed_under_another_name_is_refused(adversary, ask):
    made = bundle(version="2.0.0")
    adversary.release([bundle()], version=3)
    text = canonical.dumps(made)
    entry = documents.ListedBundle(path_of(bundle()), text)
    for role, one in adversary.bins.items():
        if one.signed.targets:
            marked = Targets(version=1, unrecognized_fields={BIN_FIELD: role})
            adversary.bins[role] = documents.unsigned_bin(marked, [entry], 4, clock.now())
            for name in ("anna", "bruno"):
                adversary.bins[role].sign(officer_keys.load_signer(adversary.folder / f"{name}.key"), append=True)
    adversary.routes[f"/v1/metadata/app/app/1.0.0/{entry.digest}.bundle.json"] = text
    adversary.publish(4, 4)
    refused(ask, "contains the bundle of another path")


def test_a_bin_that_was_another_one_before_is_refused(adversary, ask):
    adversary.release([bundle()], version=3)
    for role, one in adversary.bins.items():
        if one.signed.targets:
            one.signed.unrecognized_fields[BIN_FIELD] = "b-f"
            one.signatures.clear()
            for name in ("anna", "bruno"):
                one.sign(officer_keys.load_signer(adversary.folder / f"{name}.key"), append=True)
            assert role
    adversary.publish(3, 3)
    refused(ask, "belongs to another hash bin")


@pytest.mark.parametrize("issued", ["x", "2026-01-01", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"])
def test_times_that_are_none_are_not_remembered(adversary, ask, issued):
    adversary.direct(issued=issued)
    with contextlib.suppress(RefusedError):
        ask()
    adversary.direct(expires=issued)
    with contextlib.suppress(RefusedError):
        ask()
    adversary.direct()
    with contextlib.suppress(RefusedError):
        ask()


def test_metadata_that_are_older_than_the_director_knows_are_refused(adversary, ask):
    adversary.newest = {"timestamp": 5, "snapshot": 2}
    refused(ask, "withheld")
    adversary.newest = {"timestamp": 2, "snapshot": 5}
    refused(ask, "withheld")


def test_metadata_that_were_renewed_between_two_questions_are_not_taken_for_hidden(adversary, ask):
    direct = adversary.routes["/v1/director"]

    def late(handler, body):
        if adversary.newest["timestamp"] == 2:
            adversary.publish(2, 3)
        direct(handler, body)

    adversary.routes["/v1/director"] = late
    assert ask().action == 7


def test_targets_that_let_others_sign_the_bins_are_refused(adversary, ask):
    adversary.release([bundle()], version=3)
    thief = _signer()
    roles = adversary.targets.signed.delegations.succinct_roles
    adversary.targets.signed.delegations.keys[thief.public_key.keyid] = thief.public_key
    roles.keyids.append(thief.public_key.keyid)
    adversary.targets.signatures.clear()
    for name in ("anna", "bruno"):
        adversary.targets.sign(officer_keys.load_signer(adversary.folder / f"{name}.key"), append=True)
    adversary.publish(3, 3)
    refused(ask, "delegate hash bins to keys that are not the release officers")


def test_what_a_stolen_key_said_is_forgotten_when_the_root_names_it_no_more(adversary, ask, tmp_path):
    far = (clock.now() + timedelta(days=200)).replace(microsecond=0)
    number = int(far.timestamp()) + 3000
    adversary.publish(3, 3, timestamp_at=far)
    adversary.direct(issued=str(far), expires=str(far + timedelta(minutes=30)), version=number)
    ask()
    adversary.publish(4, 4)
    refused(ask, "expired")
    adversary.rotate()
    assert ask().action == 7
    assert StateFile(tmp_path / "device").get("director_version") < 100


def test_a_timestamp_of_a_megabyte_is_not_read(adversary, ask):
    adversary.routes["/v1/metadata/timestamp.json"] = b"{" + b" " * 1_000_000
    with pytest.raises((RefusedError, TransportError)):
        ask()


def test_a_document_nested_without_end_is_refused(adversary, ask):
    adversary.routes["/v1/director"] = lambda handler, _: handler.whole(b"[" * 10_000)
    refused(ask, "malformed")


def test_a_refusal_leaves_what_was_believed_as_it_was(adversary, ask):
    ask()
    adversary.direct(rows=[{**adversary.row, "hw": "another class"}])
    refused(ask, "other hardware")
    adversary.direct()
    assert ask().action == 7
    assert adversary.row["hw"] == HARDWARE


def follow_roots(adversary, first, last):
    """Serve a chain of roots, each signed by the officers of the one before; the last names the online keys."""
    public = {
        name: {"keyid": one.public_key.keyid, **one.public_key.to_dict()} for name, one in adversary.online.items()
    }
    signers = [adversary.folder / "anna.key", adversary.folder / "bruno.key"]
    newest = adversary.routes.get(f"/v1/metadata/{first - 1}.root.json", adversary.first_root)
    for version in range(first, last + 1):
        newest = adversary.routes[f"/v1/metadata/{version}.root.json"] = metadata.next_root(newest, public, signers)


@regression("R3", "300 roots in the life of a device, at many looks and at one")
@pytest.mark.parametrize("steps", [(70, 140, 210, 301), (301,)])
def test_a_device_follows_hundreds_of_roots(adversary, ask, tmp_path, steps):
    first = 2
    for last in steps:
        follow_roots(adversary, first, last)
        assert ask().action == 7
        assert (tmp_path / "device" / "tuf" / "root.json").resolve().name == f"{last}.root.json"
        first = last + 1


@regression("R3", "a chain of roots without end")
def test_a_look_follows_a_bounded_number_of_roots(adversary, ask, tmp_path, monkeypatch):
    monkeypatch.setattr("fleet.agent.trust.MOST_NEW_ROOTS", 5)
    follow_roots(adversary, 2, 9)
    ask()
    assert (tmp_path / "device" / "tuf" / "root.json").resolve().name == "6.root.json"
    ask()
    assert (tmp_path / "device" / "tuf" / "root.json").resolve().name == "9.root.json"


def shared_seat(root, facts):
    """One key in capitals under a second id and name."""
    return {**facts, "keyval": {"public": facts["keyval"]["public"].upper()}, "x-muster-officer": "mallory"}


def second_seat(root, facts):
    """Another key of the same person, whose name looks the same."""
    return {**SECOND, "x-muster-officer": "\u0430nna\u200b"}


def server_seat(root, facts):
    """The key that signs timestamps."""
    [keyid] = root.roles["timestamp"].keyids
    return {**root.keys[keyid].to_dict(), "keyval": {"public": root.keys[keyid].keyval["public"].upper()},
            "x-muster-officer": "dora"}  # fmt: skip


def nobodys_seat(root, facts):
    """A key that names nobody."""
    return SECOND


SECOND = _signer().public_key.to_dict()


@regression("V1", "the whole agent gets a next root that takes a second seat, signed by the old officers")
@pytest.mark.parametrize("seat", [shared_seat, second_seat, server_seat, nobodys_seat])
def test_a_next_root_with_a_stolen_seat_is_refused_and_not_kept(adversary, ask, tmp_path, seat):
    ask()
    document = Metadata[Root].from_bytes(adversary.first_root)
    root = document.signed
    root.version = 2
    _, anna = officer_keys.load_officer(adversary.folder / "anna.pub.json")
    root.add_key(Key.from_dict("f" * 64, json.loads(json.dumps(seat(root, anna.to_dict())))), "targets")
    root.add_key(Key.from_dict("f" * 64, json.loads(json.dumps(seat(root, anna.to_dict())))), "root")
    document.signatures.clear()
    signers = [adversary.folder / "anna.key", adversary.folder / "bruno.key"]
    adversary.routes["/v1/metadata/2.root.json"] = metadata.sign_document(document, signers)
    for _ in range(2):  # nothing of it was kept, so that the second look refuses it too
        refused(ask, "list one key twice|different people|has no person's name|online key may not sign")
    tuf = tmp_path / "device" / "tuf"
    assert (tuf / "root.json").resolve().name == "1.root.json"
    assert not (tuf / "root_history" / "2.root.json").exists()
    adversary.rotate()  # the officers sign a right one, and the device goes on
    assert ask().action == 7
    assert (tuf / "root.json").resolve().name == "2.root.json"


@regression("R11", "a director document of another time or with a version that nothing can follow")
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": 2**60}, "version"),
        ({"version": True}, "version"),
        ({"version": 2**31}, "version"),
        ({"issued": "2099-01-01T00:00:00Z", "expires": "2099-01-01T00:30:00Z"}, "future"),
        ({"expires": "2099-01-01T00:30:00Z"}, "valid for longer"),
        ({"expires": "2030-01-01T00:30:00"}, "time zone"),
    ],
)
def test_a_director_that_would_block_the_device_is_refused(adversary, ask, change, words):
    adversary.direct(**change)
    refused(ask, words)
    adversary.direct()
    assert ask().action == 7  # nothing of it was remembered


@regression("R13", "numbers that no device may keep")
@pytest.mark.parametrize(
    "change", [{"counter": 0}, {"counter": 2**31}, {"counter": -1}, {"action": 0}, {"action": 2**31}, {"length": 0}]
)
def test_a_director_that_names_impossible_numbers_is_refused(adversary, ask, change):
    adversary.direct(rows=[{**adversary.row, **change}])
    refused(ask, "must be between 1")
