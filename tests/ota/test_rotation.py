"""Online keys change without a gap: made ready, named by a root that people sign, used, and only then destroyed."""

import json

import pytest
from tuf.api.metadata import Metadata, Root, Snapshot, Timestamp

from fleet.officer import metadata as officer
from ota.errors import MetadataError
from ota.services import metadata
from ota.trust import policy
from pki.kernel.errors import DeniedError, InvalidError, NotFoundError
from pki.ledger import verifier
from pki.models import LedgerEntry
from pki.services import ledger, ledger_check, ledger_proofs, signing
from tests.factories.ground import person, system

pytestmark = pytest.mark.django_db
ALL = list(policy.ONLINE)


class Rotation:
    """A repository whose officers sign roots on demand."""

    def __init__(self, workshop):
        self.workshop, self.domain, self.who = workshop, workshop.domain, system(workshop.domain)
        self.signers = [workshop.folder / "anna.key", workshop.folder / "bruno.key"]

    def prepare(self, names=ALL):
        return metadata.next_online_keys(actor=self.who, names=names)

    def install(self, online, signers=None):
        version = self.root().signed.version
        present = metadata.read_published_metadata(self.domain.slug, f"{version}.root.json")
        new = officer.next_root(present, online, signers or self.signers)
        return metadata.install_root(actor=self.who, root=new)

    def root(self):
        return metadata.published_repository(self.domain.slug).root()

    def believed(self):
        """Say whether the published snapshot and timestamp are signed as the newest root wants it."""
        store, root = metadata.published_repository(self.domain.slug), self.root().signed
        return all(
            bool(root.get_verification_result(kind.type, one.signed_bytes, one.signatures))
            for kind in (Snapshot, Timestamp)
            if (one := store.newest(kind))
        )

    def held(self):
        return signing.signer_client("admin").held_keys(self.domain.slug)


@pytest.fixture
def rotation(published):
    return Rotation(published)


def test_every_online_key_is_exchanged_without_a_moment_in_which_devices_believe_nobody(rotation):
    before = {name: keys[0]["keyid"] for name, keys in rotation.held().items()}
    both = rotation.prepare()
    assert all(len(keys) == 2 for keys in both.values())
    assert rotation.install(both) == 2
    assert rotation.believed()
    metadata.switch_online_keys(actor=rotation.who, names=ALL)
    assert rotation.believed()
    after = {name: keys[0]["keyid"] for name, keys in rotation.held().items()}
    assert not set(before.values()) & set(after.values())
    assert rotation.install({name: [keys[1]] for name, keys in both.items()}) == 3
    assert rotation.believed()
    actions = LedgerEntry.objects.filter(domain=rotation.domain, action__startswith="online-keys.")
    acts = [one.action.split(".")[1] for one in actions.order_by("id")]
    assert acts == ["created", "prepared", "switched", "destroyed"]
    line = signing.signer_client("admin")
    assert set(line.every_key(rotation.domain.slug, "ledger")) == {before["ledger"], after["ledger"]}
    assert line.retire_online_keys(rotation.domain.slug) == []


def test_a_stolen_key_is_dropped_at_once_by_a_root_that_names_the_next_only(rotation):
    stolen = rotation.held()["timestamp"][0]["keyid"]
    both = rotation.prepare(["timestamp"])
    rotation.install({"timestamp": [both["timestamp"][1]]})
    assert rotation.believed()
    assert rotation.held()["timestamp"][0]["keyid"] != stolen
    assert stolen not in rotation.root().signed.keys


def test_no_key_signs_before_people_have_named_it(rotation):
    with pytest.raises(MetadataError, match="does not list a next"):
        metadata.switch_online_keys(actor=rotation.who, names=["director"])
    rotation.prepare(["director"])
    with pytest.raises(MetadataError, match="does not list a next"):
        metadata.switch_online_keys(actor=rotation.who, names=["director"])
    with pytest.raises(NotFoundError, match="There is no next key"):
        signing.signer_client("admin").switch_online_keys(rotation.domain.slug, ["snapshot"])


def test_a_root_by_one_officer_or_with_a_strangers_online_key_is_refused(rotation):
    both = rotation.prepare(["snapshot"])
    with pytest.raises(MetadataError, match="not signed by enough"):
        rotation.install(both, rotation.signers[:1])
    stranger = json.loads(json.dumps(both["snapshot"][1]))
    stranger["keyid"], stranger["keyval"]["public"] = "0" * 64, "1" * 64
    with pytest.raises(InvalidError, match=r"[Nn]othing was signed"):
        rotation.install({"snapshot": [stranger]})
    assert rotation.root().signed.version == 1


def test_only_a_security_officer_rotates(rotation):
    for act in (metadata.next_online_keys, metadata.switch_online_keys):
        with pytest.raises(DeniedError):
            act(actor=person(rotation.domain, "release-officer"), names=["snapshot"])


def test_old_ledger_heads_are_still_believed_after_the_ledgers_key_has_changed(rotation, tmp_path):
    ledger.sequence_leaves(domain=rotation.domain)
    both = rotation.prepare(["ledger"])
    rotation.install(both)
    metadata.switch_online_keys(actor=rotation.who, names=["ledger"])
    rotation.install({"ledger": [both["ledger"][1]]})
    ledger.sequence_leaves(domain=rotation.domain)
    report = ledger_check.verify_ledger(actor=rotation.who)
    assert report.problems == []
    assert report.heads >= 2
    export = tmp_path / "export.jsonl"
    export.write_bytes(b"".join(ledger_proofs.export_ledger(actor=rotation.who)))
    assert verifier.check_export(export, [], None) == []
    newest = both["ledger"][1]["keyval"]["public"]
    assert any("not signed by this key" in one for one in verifier.check_export(export, [newest], None))


def test_a_client_that_knows_only_the_first_root_follows_to_the_newest(rotation):
    both = rotation.prepare()
    rotation.install(both)
    metadata.switch_online_keys(actor=rotation.who, names=ALL)
    rotation.install({name: [keys[1]] for name, keys in both.items()})
    known = Metadata[Root].from_bytes(rotation.workshop.root)
    for version in (2, 3):
        following = Metadata[Root].from_bytes(
            metadata.read_published_metadata(rotation.domain.slug, f"{version}.root.json")
        )
        known.verify_delegate(Root.type, following)
        following.verify_delegate(Root.type, following)
        known = following
