"""What ``muster-sign`` never signs, whatever a server in an attacker's hands puts into a signing request."""

import hashlib
import json
import subprocess
import sys
from datetime import timedelta

import pytest
from tuf.api.metadata import Key, Metadata, Targets

from fleet.officer import describe, keys, metadata
from fleet.officer.signing_requests.compare import check_request
from fleet.officer.signing_requests.read import read_request
from fleet.officer.signing_requests.sign import remember_versions, sign_request
from ota.selectors import statements as rows
from ota.services import online_roles, releases, upkeep
from ota.trust.repository import bin_of
from pki.kernel import canonical, clock
from pki.kernel.errors import InvalidError
from tests.architecture.sources import ROOT
from tests.factories.ground import system

pytestmark = pytest.mark.django_db


class Server:
    """A thief's server: it makes honest requests, and changes them."""

    def __init__(self, workshop):
        self.workshop, self.who = workshop, system(workshop.domain)

    def release(self, version="1.0.0", **options):
        bundle = self.workshop.bundle(version, int(version[0]))
        made = releases.prepare_release(actor=self.who, bundle=bundle, **options)
        return rows.prepared_documents(made.statement)

    def check(self, value, roots=None, seen=None):
        parts = {
            role: hashlib.sha256(Metadata[Targets].from_dict(json.loads(json.dumps(one))).signed_bytes).hexdigest()
            for role, one in value["documents"].items()
        }
        parts["sequence"] = value["sequence"]
        value["digest"] = hashlib.sha256(canonical.dumps(parts)).hexdigest()
        request = read_request(json.dumps(value).encode())
        return request, check_request(request, roots or [self.workshop.root], seen)


@pytest.fixture
def server(published):
    return Server(published)


def bin_in(value, which="documents"):
    return next(one for role, one in value[which].items() if role != "targets")["signed"]


ENTRY = {"hashes": {"sha256": "ab" * 32}, "length": 7}


def a_second_bundle(value):
    bin_in(value)["targets"]["app/evil/9.9.9/bundle.json"] = ENTRY


def other_bytes(value):
    bin_in(value)["targets"]["app/app/1.0.0/bundle.json"]["hashes"]["sha256"] = "ab" * 32


def without_its_text(value):
    value["exhibits"].clear()


def another_kind(value):
    value["kind"] = "withdrawal"


def an_unknown_kind(value):
    value["kind"] = "something"


def a_leap(value):
    bin_in(value)["version"] = 2**31


def a_step_back(value):
    bin_in(value)["version"] = 1


def a_long_life(value):
    bin_in(value)["expires"] = (clock.now() + timedelta(days=4000)).strftime("%Y-%m-%dT%H:%M:%SZ")


def an_unknown_field(value):
    bin_in(value)["x-muster-anything"] = {}


def a_past_that_nobody_signed(value):
    bin_in(value, "before")["targets"]["app/evil/9.9.9/bundle.json"] = ENTRY
    a_second_bundle(value)


def no_past_at_all(value):
    value["before"].clear()
    bin_in(value)["version"] = 1


def more_than_its_digest(value):
    bin_in(value)["targets"]["app/app/1.0.0/bundle.json"]["custom"] = {"x": 1}


@pytest.mark.parametrize(
    "change",
    [a_second_bundle, other_bytes, without_its_text, another_kind, an_unknown_kind, a_leap, a_step_back, a_long_life,
     an_unknown_field, a_past_that_nobody_signed, no_past_at_all, more_than_its_digest],
)  # fmt: skip
def test_a_release_that_does_something_else_is_refused(server, change):
    value = server.release()
    server.check(json.loads(json.dumps(value)))
    change(value)
    with pytest.raises(InvalidError, match=r"Do not sign|damaged"):
        server.check(value)


@pytest.mark.parametrize("kind", ["config", "composite"])
def test_firmware_that_is_something_else_in_disguise_is_not_signed(server, kind):
    """The text says another kind than the place where it would be installed: officers would not be shown what it does."""
    value = server.release()
    entry = bin_in(value)["targets"]["app/app/1.0.0/bundle.json"]
    text = {**json.loads(value["exhibits"].pop(entry["hashes"]["sha256"])), "kind": kind}
    data = canonical.dumps(text)
    digest = hashlib.sha256(data).hexdigest()
    entry |= {"hashes": {"sha256": digest}, "length": len(data)}
    value["exhibits"][digest] = data.decode()
    with pytest.raises(InvalidError, match=r"kind and component of .* do not match"):
        describe.describe_lines(*server.check(value))


def test_a_request_whose_digest_is_wrong_is_damaged(server):
    value = server.release()
    value["digest"] = "0" * 64
    for broken in (value, {}, [], {**value, "documents": {}}, {**value, "exhibits": {"ab" * 32: "other"}}):
        with pytest.raises(InvalidError):
            read_request(json.dumps(broken).encode())


def test_nothing_that_people_signed_is_removed_or_changed_by_the_way(server):
    targets = online_roles.published_repository(server.workshop.domain.slug).targets().signed
    versions = [f"1.{number}.0" for number in range(5)]
    places = [bin_of(targets, f"app/app/{one}/bundle.json") for one in versions]
    first, second = [one for one, place in zip(versions, places, strict=True) if places.count(place) > 1][:2]
    server.workshop.release(server.workshop.bundle(first))
    value = server.release(second)
    same_bin = list(bin_in(value, "before")["targets"])
    for change in (lambda found: found.pop(same_bin[0]), lambda found: found[same_bin[0]].update(length=9)):
        forged = json.loads(json.dumps(value))
        change(bin_in(forged)["targets"])
        with pytest.raises(InvalidError, match=r"removes app|changes app"):
            server.check(forged)


def test_a_withdrawal_cannot_be_undone_by_a_request_on_an_older_base(server):
    workshop = server.workshop
    release = workshop.release(workshop.bundle("1.0.0", 1))
    value = rows.prepared_documents(releases.withdraw(actor=server.who, release=release, reason="bad").withdrawal)
    request, _ = server.check(value)
    remember_versions(request, workshop.folder / "anna.key")
    workshop.publish(releases.withdraw(actor=server.who, release=release, reason="bad").withdrawal)
    later = json.loads(json.dumps(value))
    bin_in(later)["targets"] = bin_in(value, "before")["targets"]
    later["kind"] = "renewal"
    with pytest.raises(InvalidError, match="must include the targets and all hash bins"):
        server.check(later)
    role = next(one for one in value["documents"] if one != "targets")
    with pytest.raises(InvalidError, match="you have already seen version"):
        server.check(value, seen={role: bin_in(value)["version"]})
    with pytest.raises(InvalidError, match="you have already seen version"):
        server.check(value, seen={"targets": 99})


def renewal(server):
    bundle = server.workshop.bundle("1.0.0", 1)
    server.workshop.release(bundle)
    value = rows.prepared_documents(upkeep.renew_targets(actor=server.who))
    server.check(json.loads(json.dumps(value)))
    role = next(one for one, document in value["documents"].items() if document["signed"]["targets"])
    return value, role


def twice_listed(value, role):
    value["documents"]["zz"] = json.loads(json.dumps(value["documents"][role]))
    value["documents"][role]["signed"]["targets"]["app/app/1.0.0/bundle.json"]["hashes"]["sha256"] = "ab" * 32


def without_floors(value, _role):
    value["before"].clear()
    value["documents"] = {"targets": value["documents"]["targets"]}


def under_another_name(value, role):
    value["documents"]["b-x"] = value["documents"].pop(role)


def in_another_bin(value, role):
    other = next(one for one in value["documents"] if one not in {role, "targets"})
    value["documents"][other]["signed"]["targets"] = value["documents"][role]["signed"]["targets"]
    value["documents"][role]["signed"]["targets"] = {}


def one_bin_left_out(value, role):
    del value["documents"][role]


def unmarked(value, role):
    value["documents"][role]["signed"]["x-muster-bin"] = "b-1" if role != "b-1" else "b-2"


@pytest.mark.parametrize(
    "change", [twice_listed, without_floors, under_another_name, in_another_bin, one_bin_left_out, unmarked]
)
def test_a_renewal_is_whole_and_leaves_everything_in_its_place(server, change):
    value, role = renewal(server)
    change(value, role)
    with pytest.raises(InvalidError):
        server.check(value)


def test_online_keys_take_nobodys_seat(server):
    workshop = server.workshop
    keys.generate_key(workshop.folder, "thief")
    _, thief = keys.load_officer(workshop.folder / "thief.pub.json")
    _, carla = keys.load_officer(workshop.folder / "carla.pub.json")
    facts = {"keyid": carla.keyid, **thief.to_dict()}
    own = {"keyid": carla.keyid, **carla.to_dict()}
    for online in ({"timestamp": facts}, {"snapshot": [facts]}, {"director": facts}, {"timestamp": own},
                   {"root": {"keyid": thief.keyid, **thief.to_dict()}}, {"targets": facts}, {"timestamp": {}}):  # fmt: skip
        with pytest.raises(InvalidError, match=r"[Nn]othing was signed"):
            metadata.next_root(workshop.root, online, workshop.signers)


@pytest.mark.parametrize("floor", ["7", 2**31 - 1, 0, -1, True, None])
def test_a_floor_that_is_none_or_above_everything_is_refused(server, floor):
    server.workshop.release(server.workshop.bundle("2.0.0", 2))
    hardware = server.workshop.hardware
    value = rows.prepared_documents(upkeep.raise_floor(actor=server.who, component="app", hardware=hardware, counter=2))
    server.check(json.loads(json.dumps(value)))
    value["documents"]["targets"]["signed"]["x-muster-floors"]["app"][str(hardware.class_id)] = floor
    with pytest.raises(InvalidError):
        server.check(value)


def test_a_floor_is_never_lowered(server):
    server.workshop.publish(
        releases.prepare_release(actor=server.who, bundle=server.workshop.bundle("2.0.0", 2)).statement
    )
    statement = upkeep.raise_floor(actor=server.who, component="app", hardware=server.workshop.hardware, counter=2)
    server.workshop.publish(statement)
    server.workshop.publish(
        releases.prepare_release(actor=server.who, bundle=server.workshop.bundle("3.0.0", 3)).statement
    )
    value = rows.prepared_documents(
        upkeep.raise_floor(actor=server.who, component="app", hardware=server.workshop.hardware, counter=3)
    )
    request, change = server.check(value)
    assert any("2 -> 3" in line for line in describe.describe_lines(request, change))
    value["documents"]["targets"]["signed"]["x-muster-floors"]["app"][str(server.workshop.hardware.class_id)] = 1
    with pytest.raises(InvalidError, match="lowers the floor"):
        server.check(value)


def test_a_renewal_hands_the_bins_to_nobody_else(server):
    keys.generate_key(server.workshop.folder, "mallory")
    name, stranger = keys.load_officer(server.workshop.folder / "mallory.pub.json")
    value = rows.prepared_documents(upkeep.renew_targets(actor=server.who))
    server.check(json.loads(json.dumps(value)))
    delegations = value["documents"]["targets"]["signed"]["delegations"]
    for change in (
        lambda found: found["keys"].update({stranger.keyid: stranger.to_dict()}),
        lambda found: found["succinct_roles"].update(threshold=1),
        lambda found: found["succinct_roles"].update(keyids=[stranger.keyid]),
    ):
        forged = json.loads(json.dumps(value))
        change(forged["documents"]["targets"]["signed"]["delegations"])
        with pytest.raises(InvalidError, match="keys that are not those of the officers"):
            server.check(forged)
    assert name == "mallory"
    assert delegations["succinct_roles"]["threshold"] == 2


def test_after_officers_were_exchanged_the_past_is_proven_by_the_former_root(server):
    workshop = server.workshop
    workshop.release(workshop.bundle())
    fresh = [keys.generate_key(workshop.folder, name) for name in ("dora", "emil", "fritz")]
    everybody = [*workshop.signers, workshop.folder / "dora.key", workshop.folder / "emil.key"]
    root = metadata.next_root(workshop.root, {}, everybody, fresh)
    from ota.services import metadata as repository

    repository.install_root(actor=server.who, root=root)
    assert repository.published_repository(workshop.domain.slug).targets() is None
    value = rows.prepared_documents(upkeep.renew_targets(actor=server.who))
    with pytest.raises(InvalidError, match="the officers of your TUF root did not sign its current"):
        server.check(value, [root])
    server.check(value, [root, workshop.root])
    former, workshop.root = workshop.root, root
    statement = upkeep.renew_targets(actor=server.who)
    from ota.services import statements

    for name in ("dora", "emil"):
        request = workshop.request(statement)
        check_request(request, [root, former])
        signature = sign_request(request, workshop.folder / f"{name}.key")
        statements.submit(actor=server.who, statement=statement, signature=signature)
    statements.publish(actor=server.who, statement=statement)
    store = repository.published_repository(workshop.domain.slug)
    assert store.listed("app/app/1.0.0/bundle.json")
    assert isinstance(next(iter(store.targets().signed.delegations.keys.values())), Key)


def test_nothing_from_the_server_moves_the_officers_cursor(server):
    release = server.workshop.release(server.workshop.bundle())
    done = releases.withdraw(actor=server.who, release=release, reason="\x1b[2J\nRELEASES nothing")
    assert all(line.isprintable() for line in server.workshop.told(done.withdrawal))


def test_the_officers_own_copy_decides_what_is_released(server, tmp_path):
    value = server.release()
    request, change = server.check(value)
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "bundle.json").write_text(next(iter(request.exhibits.values())))
    (folder / "app.bin").write_bytes((server.workshop.folder / "1.0.0.bin").read_bytes())
    describe.compare_release(change, folder)
    (folder / "app.bin").write_bytes(b"other")
    with pytest.raises(InvalidError, match="differs from your own copy"):
        describe.compare_release(change, folder)
    (folder / "bundle.json").unlink()
    with pytest.raises(InvalidError, match="cannot be read"):
        describe.compare_release(change, folder)


def test_the_tool_asks_and_shows_and_remembers(server, tmp_path):
    (tmp_path / "prepared.json").write_text(json.dumps(server.release()))
    (tmp_path / "root.json").write_bytes(server.workshop.root)
    key = server.workshop.folder / "anna.key"
    command = [
        sys.executable,
        "-m",
        "fleet.officer",
        "sign",
        "--key",
        str(key),
        "--in",
        str(tmp_path / "prepared.json"),
    ]
    command += ["--root", str(tmp_path / "root.json"), "--out", str(tmp_path / "signature.json")]
    said = subprocess.run(command, cwd=ROOT, input="no\n", capture_output=True, text=True, check=False)
    assert said.returncode == 1
    assert "RELEASES app/app/1.0.0/bundle.json" in said.stdout
    assert "security counter 1" in said.stdout
    assert not (tmp_path / "signature.json").exists()
    said = subprocess.run(command, cwd=ROOT, input="yes\n", capture_output=True, text=True, check=True)
    assert json.loads((tmp_path / "signature.json").read_text())["officer"] == "anna"
    assert json.loads(key.with_name("anna.key.seen.json").read_text())
    bare = [one for one in command if one not in {"--root", str(tmp_path / "root.json")}]
    assert subprocess.run(bare, cwd=ROOT, input="yes\n", capture_output=True, text=True, check=False).returncode == 2
