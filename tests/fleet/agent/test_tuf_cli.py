"""The three commands by which the public conformance suite judges a TUF client, against a repository on loopback."""

import hashlib
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from securesystemslib.signer import CryptoSigner, Signature
from tuf.api.metadata import Key, Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

from tests.architecture.sources import ROOT as HERE
from tests.fleet.agent.adversary import Loopback
from tests.regressions import regression

ROLES = ("root", "targets", "snapshot", "timestamp")


class Repository:
    """A repository in memory: one key a role, consistent snapshots, versions that rise with each publishing."""

    def __init__(self):
        self.server = Loopback()
        self.signers = {role: CryptoSigner.generate_ed25519() for role in ROLES}
        self.version, self.root_version, self.life = 0, 0, timedelta(days=1)
        self.targets = {}
        self.new_root()

    def end(self):
        return datetime.now(UTC).replace(microsecond=0) + self.life

    def put(self, path, signed, *signers):
        made = Metadata(signed)
        for one in signers:
            made.sign(one, append=True)
        self.server.routes[path] = made.to_bytes()
        return made

    def new_root(self, *also):
        self.root_version += 1
        root = Root(version=self.root_version, expires=self.end(), consistent_snapshot=True)
        for role in ROLES:
            root.add_key(self.signers[role].public_key, role)
        path = f"/metadata/{self.root_version}.root.json"
        self.put(path, root, self.signers["root"], *also)

    def add(self, name, data):
        entry = TargetFile.from_data(name, data, ["sha256"])
        self.targets[name] = entry
        folder, _, base = name.rpartition("/")
        prefix = f"/targets/{folder}/" if folder else "/targets/"
        self.server.routes[f"{prefix}{hashlib.sha256(data).hexdigest()}.{base}"] = data

    def publish(self):
        self.version += 1
        number, until = self.version, self.end()
        targets = Targets(version=number, expires=until, targets=dict(self.targets))
        self.put(f"/metadata/{number}.targets.json", targets, self.signers["targets"])
        snapshot = Snapshot(version=number, expires=until, meta={"targets.json": MetaFile(number)})
        self.put(f"/metadata/{number}.snapshot.json", snapshot, self.signers["snapshot"])
        stamp = Timestamp(version=number, expires=until, snapshot_meta=MetaFile(number))
        self.put("/metadata/timestamp.json", stamp, self.signers["timestamp"])


@pytest.fixture
def repository():
    made = Repository()
    made.add("app/board/1.bin", b"one" * 1000)
    made.publish()
    yield made
    made.server.close()


@pytest.fixture
def client(repository, tmp_path):
    """Return how to run a command; ``download`` takes target names."""

    def run(command, *names):
        arguments = [sys.executable, "-m", "fleet.agent.tuf_cli", "--metadata-dir", tmp_path / "metadata"]
        if command == "init":
            root = tmp_path / "trusted.json"
            root.write_bytes(repository.server.routes["/metadata/1.root.json"])
            arguments += ["init", root]
        else:
            arguments += ["--metadata-url", f"{repository.server.address}/metadata/"]
            for name in names:
                arguments += ["--target-name", name]
            arguments += ["--target-base-url", f"{repository.server.address}/targets/"]
            arguments += ["--target-dir", tmp_path / "downloads", command]
        (tmp_path / "downloads").mkdir(exist_ok=True)
        done = subprocess.run(list(map(str, arguments)), cwd=HERE, capture_output=True, text=True, check=False)
        assert done.returncode in {0, 1}, done.stderr
        return done.returncode

    run.folder = tmp_path
    return run


@pytest.fixture
def trusting(client):
    assert client("init") == 0
    return client


def fetched(client):
    return [one.read_bytes() for one in sorted((client.folder / "downloads").iterdir())]


def test_init_asks_nobody_and_refresh_brings_everything(repository, trusting):
    assert repository.server.asked == []
    assert trusting("refresh") == 0
    kept = {one.name for one in (trusting.folder / "metadata").iterdir()}
    assert {"root.json", "timestamp.json", "snapshot.json", "targets.json"} <= kept


def test_a_target_is_fetched_once(repository, trusting):
    for _ in range(2):
        assert trusting("download", "app/board/1.bin") == 0
    assert fetched(trusting) == [b"one" * 1000]
    assert sum("/targets/" in path for path, _ in repository.server.asked) == 1


def test_several_are_fetched_in_order_until_one_fails(repository, trusting):
    repository.add("app/board/2.bin", b"two" * 10)
    repository.publish()
    assert trusting("download", "app/board/2.bin", "app/board/none.bin", "app/board/1.bin") == 1
    assert fetched(trusting) == [b"two" * 10]


def test_a_changed_target_is_refused(repository, trusting):
    [path] = [one for one in repository.server.routes if one.startswith("/targets/")]
    for other in (b"two" * 1000, b"one" * 1001, b""):
        repository.server.routes[path] = other
        assert trusting("download", "app/board/1.bin") == 1
        assert fetched(trusting) == []


def test_an_older_timestamp_is_refused(repository, trusting):
    old = repository.server.routes["/metadata/timestamp.json"]
    repository.publish()
    assert trusting("refresh") == 0
    repository.server.routes["/metadata/timestamp.json"] = old
    assert trusting("refresh") == 1


def test_expired_metadata_is_refused(repository, trusting):
    repository.life = timedelta(seconds=-5)
    repository.publish()
    assert trusting("refresh") == 1


def test_a_strangers_signature_is_refused(repository, trusting):
    repository.signers["timestamp"] = CryptoSigner.generate_ed25519()
    repository.publish()
    assert trusting("refresh") == 1


def test_roots_are_followed_one_by_one_and_a_root_that_the_last_one_has_not_signed_is_not(repository, trusting):
    before = repository.signers["root"]
    repository.signers = {role: CryptoSigner.generate_ed25519() for role in ROLES}
    repository.new_root(before)
    repository.publish()
    assert trusting("refresh") == 0
    repository.signers["root"] = CryptoSigner.generate_ed25519()
    repository.new_root()
    repository.publish()
    assert trusting("refresh") == 1


@regression("V1", "the conformance client gets a next root in which one key has two ids, signed by the old root")
@pytest.mark.parametrize("role", ROLES)
def test_a_next_root_that_names_one_key_twice_is_refused(repository, trusting, role):
    assert trusting("refresh") == 0
    repository.root_version += 1
    root = Root(version=2, expires=repository.end(), consistent_snapshot=True)
    for name in ROLES:
        root.add_key(repository.signers[name].public_key, name)
    fields = repository.signers[role].public_key.to_dict()
    fields["keyval"] = {"public": fields["keyval"]["public"].upper()}
    root.add_key(Key.from_dict("f" * 64, fields), role)
    root.roles[role].threshold = 2
    signer = repository.signers["root"]
    made = repository.put("/metadata/2.root.json", root, signer)
    made.signatures["f" * 64] = Signature("f" * 64, made.signatures[signer.public_key.keyid].signature)
    repository.server.routes["/metadata/2.root.json"] = made.to_bytes()
    assert trusting("refresh") == 1
    assert (trusting.folder / "metadata" / "root.json").resolve().name == "1.root.json"
    repository.root_version = 1
    repository.new_root()
    assert trusting("refresh") == 0  # a right root is followed afterwards


def test_without_a_root_or_with_rubbish_for_one_nothing_is_believed(repository, client):
    assert client("refresh") == 1
    repository.server.routes["/metadata/1.root.json"] = b"{}"
    assert client("init") == 1


def test_a_server_that_is_away_or_sends_elsewhere_is_a_failure(repository, trusting):
    def elsewhere(handler, _body):
        handler.send_response(302)
        handler.send_header("Location", "/metadata/timestamp.json.real")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    repository.server.routes["/metadata/timestamp.json.real"] = repository.server.routes["/metadata/timestamp.json"]
    repository.server.routes["/metadata/timestamp.json"] = elsewhere
    assert trusting("refresh") == 1
    repository.server.close()
    assert trusting("refresh") == 1
