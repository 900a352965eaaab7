"""Only two different officers publish; the server's own keys cannot."""

import json

import pytest
from tuf.api.metadata import Metadata, Snapshot, Targets, Timestamp

from ota.errors import MetadataError
from ota.services import metadata, releases
from pki.kernel.errors import DeniedError, InvalidError
from tests.factories.ground import person, system

pytestmark = pytest.mark.django_db


def test_two_officers_publish_a_release(published):
    bundle = published.bundle()
    release = published.release(bundle)
    assert release.state == "published"
    targets = metadata.repository(published.domain.slug).targets().signed
    assert bundle.target_path in targets.targets
    timestamp = Metadata[Timestamp].from_bytes(metadata.read(published.domain.slug, "timestamp.json"))
    name = f"{timestamp.signed.snapshot_meta.version}.snapshot.json"
    snapshot = Metadata[Snapshot].from_bytes(metadata.read(published.domain.slug, name))
    assert snapshot.signed.meta["targets.json"].version == targets.version


def test_one_officer_is_not_enough_not_even_twice(published):
    release = releases.prepare(actor=system(published.domain), bundle=published.bundle())
    for _ in range(2):
        signature = published.sign(release, "anna")
        releases.submit(actor=system(published.domain), release=release, signature=signature)
    with pytest.raises(MetadataError, match="two officers"):
        releases.publish(actor=system(published.domain), release=release)
    assert metadata.repository(published.domain.slug).targets().signed.version == 1


def test_a_row_set_by_hand_publishes_nothing(published):
    bundle = published.bundle()
    release = releases.prepare(actor=system(published.domain), bundle=bundle)
    type(release).objects.filter(pk=release.pk).update(state="published", published_at="2026-01-01T00:00Z")
    assert bundle.target_path not in metadata.repository(published.domain.slug).targets().signed.targets


def test_a_stranger_or_a_signature_over_something_else_is_refused(published, tmp_path):
    from fleet.officer import keys

    release = releases.prepare(actor=system(published.domain), bundle=published.bundle())
    keys.generate(published.folder, "mallory")
    with pytest.raises(MetadataError, match="may not sign"):
        releases.submit(actor=system(published.domain), release=release, signature=published.sign(release, "mallory"))
    forged = json.loads(published.sign(release, "anna"))
    forged["sig"] = ("0" if forged["sig"][0] != "0" else "1") + forged["sig"][1:]
    with pytest.raises(MetadataError):
        releases.submit(actor=system(published.domain), release=release, signature=json.dumps(forged).encode())


def test_garbage_is_no_signature(published):
    release = releases.prepare(actor=system(published.domain), bundle=published.bundle())
    for data in (b"", b"{}", b'{"release": 1}', b"[" * 50):
        with pytest.raises(InvalidError):
            releases.submit(actor=system(published.domain), release=release, signature=data)


def test_an_operator_releases_nothing(published):
    with pytest.raises(DeniedError):
        releases.prepare(actor=person(published.domain, "operator"), bundle=published.bundle())


def test_the_server_holds_no_key_that_signs_targets(published):
    root = metadata.repository(published.domain.slug).root().signed
    online = {one["keyid"] for one in metadata.online_keys(actor=system(published.domain)).values()}
    assert not online & set(root.roles[Targets.type].keyids)
    assert not online & set(root.roles["root"].keyids)
