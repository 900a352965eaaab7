"""Only two different officers publish; the server's own keys cannot."""

import json
import shutil

import pytest
from django.conf import settings
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

from fleet.api.statements import StatementOut
from fleet.officer import keys
from fleet.officer import metadata as officer
from ota.errors import MetadataError, ReleaseStateError, StaleReleaseError
from ota.models import Bundle, Statement
from ota.selectors import signed
from ota.selectors import statements as rows
from ota.services import metadata, releases, statements, upkeep
from ota.trust import documents
from ota.trust.repository import bin_of, delegated_bins
from pki.kernel.errors import DeniedError, InvalidError
from pki.models import LedgerEntry
from tests.factories.ground import person, system

pytestmark = pytest.mark.django_db


def test_two_officers_publish_a_release(published):
    bundle = published.bundle()
    release = published.release(bundle)
    assert release.state == "published"
    store = metadata.published_repository(published.domain.slug)
    assert store.listed(bundle.target_path).hashes == {"sha256": bundle.digest}
    role = bin_of(store.targets().signed, bundle.target_path)
    timestamp = Metadata[Timestamp].from_bytes(
        metadata.read_published_metadata(published.domain.slug, "timestamp.json")
    )
    name = f"{timestamp.signed.snapshot_meta.version}.snapshot.json"
    snapshot = Metadata[Snapshot].from_bytes(metadata.read_published_metadata(published.domain.slug, name)).signed
    assert snapshot.meta[f"{role}.json"].version == store.document(role).signed.version > 1
    assert {one.version for name, one in snapshot.meta.items() if name != f"{role}.json"} == {1}
    text = metadata.read_published_metadata(published.domain.slug, f"{bundle.digest}.bundle.json")
    assert json.loads(text) == bundle.manifest


def test_a_release_changes_one_bin_so_that_two_in_different_bins_do_not_wait_for_each_other(published):
    store = metadata.published_repository(published.domain.slug).targets().signed
    made = [published.bundle(f"1.{number}.0") for number in range(6)]
    found = {bin_of(store, one.target_path): one for one in made}
    assert len(found) > 1
    in_order = sorted(found.values(), key=lambda one: one.pk)  # a version that goes back would need a word
    waiting = [releases.prepare_release(actor=system(published.domain), bundle=one) for one in in_order]
    for release in waiting:
        published.publish(release.statement)
    assert all(releases.is_bundle_listed(one) for one in found.values())


def test_of_two_that_change_the_same_bin_the_later_is_prepared_again(published):
    store = metadata.published_repository(published.domain.slug).targets().signed
    made = [published.bundle(f"1.{number}.0") for number in range(6)]
    names = [bin_of(store, one.target_path) for one in made]
    role = next(one for one in names if names.count(one) > 1)
    first, second = [one for one, name in zip(made, names, strict=True) if name == role][:2]
    waiting = [releases.prepare_release(actor=system(published.domain), bundle=one) for one in (first, second)]
    published.publish(waiting[0].statement)
    with pytest.raises(StaleReleaseError, match="Prepare and sign this one again"):
        published.publish(waiting[1].statement)
    again = releases.prepare_release(actor=system(published.domain), bundle=second)
    assert again.statement.pk != waiting[1].statement.pk
    published.publish(again.statement)
    assert releases.is_bundle_listed(first)
    assert releases.is_bundle_listed(second)


def test_preparing_again_asks_for_the_same_signatures(published):
    bundle = published.bundle()
    first = releases.prepare_release(actor=system(published.domain), bundle=bundle)
    assert releases.prepare_release(actor=system(published.domain), bundle=bundle).statement.pk == first.statement.pk
    higher = releases.prepare_release(actor=system(published.domain), bundle=bundle, raise_floor=True)
    assert higher.statement.pk != first.statement.pk
    stale = Statement.objects.get(pk=first.statement.pk)
    with pytest.raises(ReleaseStateError, match="This signing request was replaced"):
        statements.publish(actor=system(published.domain), statement=stale)


def test_a_release_can_raise_the_floor_of_its_hardware(published):
    release = published.release(published.bundle(counter=1), raise_floor=True)
    floors = documents.floors_of(metadata.published_repository(published.domain.slug).targets().signed)
    assert floors == {"app": {str(published.hardware.class_id): 1}}
    assert release.state == "published"


def test_a_withdrawn_release_is_marked_by_officers_and_assigned_no_more(published):
    bundle = published.bundle()
    release = published.release(bundle)
    hardware = str(published.hardware.class_id)
    assert signed.class_objection(bundle, hardware) is None
    done = releases.withdraw(actor=system(published.domain), release=release, reason="it bricks boards")
    assert done.state == "withdrawn"
    assert any("WITHDRAWS" in line and "bricks" in line for line in published.told(done.withdrawal))
    published.publish(done.withdrawal)
    assert "withdrawn it: it bricks boards" in signed.class_objection(bundle, hardware).sentence
    with pytest.raises(ReleaseStateError, match="new version"):
        releases.prepare_release(actor=system(published.domain), bundle=bundle)


def test_what_was_never_released_is_withdrawn_without_a_statement(published):
    release = releases.prepare_release(actor=system(published.domain), bundle=published.bundle())
    done = releases.withdraw(actor=system(published.domain), release=release, reason="no")
    assert done.withdrawal is None
    with pytest.raises(ReleaseStateError, match="withdrawn"):
        published.publish(release.statement)


def test_a_floor_is_raised_by_officers_and_within_what_is_released(published):
    who = system(published.domain)
    published.release(published.bundle("1.0.0", 1))
    bundle = published.bundle("3.0.0", 3)
    published.release(bundle)
    for counter in (0, 4):
        with pytest.raises(MetadataError, match="highest released counter is 3"):
            upkeep.raise_floor(actor=who, component="app", hardware=published.hardware, counter=counter)
    statement = upkeep.raise_floor(actor=who, component="app", hardware=published.hardware, counter=2)
    assert any("0 -> 2" in line for line in published.told(statement))
    published.publish(statement)
    old = Bundle.objects.get(domain=published.domain, version="1.0.0")
    assert "below the floor 2" in signed.class_objection(old, str(published.hardware.class_id)).sentence
    assert signed.class_objection(bundle, str(published.hardware.class_id)) is None
    with pytest.raises(MetadataError, match="is 2"):
        upkeep.raise_floor(actor=who, component="app", hardware=published.hardware, counter=2)


@pytest.mark.parametrize("bits", [None, 3])
def test_a_renewal_dates_everything_anew_and_lists_what_was_listed(published, bits):
    who, bundle = system(published.domain), published.bundle()
    published.release(bundle)
    statement = upkeep.renew_targets(actor=who, bit_length=bits)
    assert any("RENEWS" in line for line in published.told(statement))
    published.publish(statement)
    store = metadata.published_repository(published.domain.slug)
    assert delegated_bins(store.targets().signed).bit_length == (bits or 2)
    assert releases.is_bundle_listed(bundle)
    assert store.newest(Snapshot).signed.meta.keys() >= {"targets.json", "b-7.json" if bits else "b-3.json"}


def test_without_a_repository_nothing_is_prepared(workshop):
    for act in (lambda: releases.prepare_release(actor=system(workshop.domain), bundle=workshop.bundle()),
                lambda: upkeep.renew_targets(actor=system(workshop.domain))):  # fmt: skip
        with pytest.raises(ReleaseStateError, match="release root"):
            act()


@pytest.mark.parametrize("spoil", ["missing", "unsigned", "strangers"])
def test_a_set_of_first_targets_that_is_not_whole_is_refused(workshop, spoil):
    workshop.ceremony()
    found = json.loads(workshop.first)
    if spoil == "missing":
        del found["b-1"]
    elif spoil == "unsigned":
        found["b-1"]["signatures"] = found["b-1"]["signatures"][:1]
    else:
        keys.generate_key(workshop.folder, "mallory")
        root = Metadata[Root].from_bytes(workshop.root)
        root.signed.add_key(keys.load_officer(workshop.folder / "mallory.pub.json")[1], "targets")
        found = json.loads(officer.first_targets(root.to_bytes(), workshop.signers, 2))
    shutil.rmtree(settings.FLEET_DIR / "tuf" / workshop.domain.slug)
    metadata.install_root(actor=system(workshop.domain), root=workshop.root)
    with pytest.raises(MetadataError):
        metadata.install_targets(actor=system(workshop.domain), targets=json.dumps(found).encode())
    assert metadata.published_repository(workshop.domain.slug).targets() is None


def test_one_officer_is_not_enough_not_even_twice(published):
    release = releases.prepare_release(actor=system(published.domain), bundle=published.bundle())
    for _ in range(2):
        signature = published.sign(release.statement, "anna")
        statements.submit(actor=system(published.domain), statement=release.statement, signature=signature)
    with pytest.raises(MetadataError, match="two officers"):
        statements.publish(actor=system(published.domain), statement=release.statement)
    assert not releases.is_bundle_listed(release.bundle)


def test_a_row_set_by_hand_publishes_nothing(published):
    bundle = published.bundle()
    release = releases.prepare_release(actor=system(published.domain), bundle=bundle)
    type(release).objects.filter(pk=release.pk).update(state="published", published_at="2026-01-01T00:00Z")
    assert metadata.published_repository(published.domain.slug).listed(bundle.target_path) is None
    assert "have not signed it" in signed.class_objection(bundle, str(published.hardware.class_id)).sentence


def test_a_stranger_or_a_signature_over_something_else_is_refused(published, tmp_path):
    release = releases.prepare_release(actor=system(published.domain), bundle=published.bundle())
    keys.generate_key(published.folder, "mallory")
    statement, who = release.statement, system(published.domain)
    with pytest.raises(MetadataError, match="may not sign"):
        statements.submit(actor=who, statement=statement, signature=published.sign(statement, "mallory"))
    forged = json.loads(published.sign(statement, "anna"))
    role, sig = next(iter(forged["sigs"].items()))
    for sigs in ({role: ("0" if sig[0] != "0" else "1") + sig[1:]}, {"targets": sig}, {role: sig, "targets": sig}):
        signature = json.dumps({**forged, "sigs": sigs}).encode()
        with pytest.raises(MetadataError):
            statements.submit(actor=who, statement=statement, signature=signature)
    assert not statement.signatures.exists()


def test_garbage_is_no_signature(published):
    release = releases.prepare_release(actor=system(published.domain), bundle=published.bundle())
    whole = json.loads(published.sign(release.statement, "anna"))
    odd = [b"", b"{}", b'{"statement": 1}', b"[" * 50]
    changes = ({"sigs": {}}, {"sigs": []}, {"sigs": {"root": "00" * 64}}, {"keyid": "x"}, {"statement": "x"})
    odd += [json.dumps({**whole, **change}).encode() for change in changes]
    for data in odd:
        with pytest.raises(InvalidError):
            statements.submit(actor=system(published.domain), statement=release.statement, signature=data)


def test_an_operator_releases_nothing(published):
    with pytest.raises(DeniedError):
        releases.prepare_release(actor=person(published.domain, "operator"), bundle=published.bundle())


def test_the_server_holds_no_key_that_signs_targets(published):
    root = metadata.published_repository(published.domain.slug).root().signed
    online = {one["keyid"] for one in metadata.online_keys(actor=system(published.domain)).values()}
    assert not online & set(root.roles[Targets.type].keyids)
    assert not online & set(root.roles["root"].keyids)


def test_who_signed_and_who_is_missing_is_told_by_rest(published):
    statement = releases.prepare_release(actor=system(published.domain), bundle=published.bundle()).statement

    def told():
        again = rows.get_statement(actor=system(published.domain), public_id=statement.public_id)
        data = StatementOut(again, context={}).data
        return data["signed_by"], data["missing"], data["may_sign"]

    assert told() == ([], 2, ["anna", "bruno", "carla"])
    statements.submit(actor=system(published.domain), statement=statement, signature=published.sign(statement, "anna"))
    assert told() == (["anna"], 1, ["bruno", "carla"])
    published.publish(statement)
    assert told() == (["anna", "bruno"], 0, [])


def test_the_first_online_keys_stand_in_the_ledger(published):
    [entry] = LedgerEntry.objects.filter(domain=published.domain, action="online-keys.created")
    root = metadata.published_repository(published.domain.slug).root().signed
    assert {entry.detail[name] for name in ("snapshot", "timestamp")} <= set(root.keys)
