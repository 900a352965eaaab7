"""Blobs are collected only when no device can ask for them any more, and never while somebody takes them in."""

import hashlib
import io
import os
import threading
from datetime import timedelta

import pytest
from django.conf import settings as now
from django.db import connection, connections, transaction

from ota import blobs
from ota.blobs import local
from ota.models import Assignment, BundleFile, Delta, Statement
from ota.services import bundles, downloads, releases, storage
from pki.kernel import clock
from pki.kernel.actor import device_actor
from pki.kernel.errors import NotFoundError
from pki.models import LedgerEntry
from tests.factories.ground import system

pytestmark = pytest.mark.django_db


def kept():
    return {one.sha256 for one in blobs.blob_store().listed()}


def age(digest, by=timedelta(days=2)):
    """Let a blob be older than the grace."""
    path, then = blobs.blob_store().path(digest), (clock.now() - by).timestamp()
    os.utime(path, (then, then))


@pytest.fixture(autouse=True)
def empty():
    """Begin with an empty store: other tests leave bundles without rows behind."""
    for digest in kept():
        blobs.blob_store().remove(digest)


@pytest.fixture
def orphan():
    digest, _ = blobs.blob_store().put(io.BytesIO(b"nobody's"), 8)
    return digest


@pytest.fixture
def withdrawn(published):
    """Return a bundle whose withdrawal officers signed 40 days ago, with old bytes."""
    bundle = published.bundle()
    release = published.release(bundle)
    releases.withdraw(actor=system(published.domain), release=release, reason="it bricks boards")
    published.publish(release.withdrawal)
    Statement.objects.filter(pk=release.withdrawal.pk).update(published_at=clock.now() - timedelta(days=40))
    age(bundle.image.sha256)
    return bundle


def assigned(bundle, device):
    return Assignment.objects.create(
        domain=bundle.domain, action_id=77, device=device, bundle=bundle, kind="update", status="scheduled",
        content_stamp=1,
    )  # fmt: skip


def test_bytes_that_nothing_refers_to_go_after_their_grace(orphan):
    assert storage.collect_garbage().blobs == 0
    age(orphan)
    assert storage.collect_garbage(dry_run=True) == storage.Collected((), 1, 8)
    assert kept() == {orphan}
    assert storage.collect_garbage() == storage.Collected((), 1, 8)
    assert kept() == set()


def test_what_a_bundle_or_a_patch_refers_to_stays_however_old(published, orphan):
    image = published.bundle().image.sha256
    Delta.objects.create(domain=published.domain, base="", result=image, format="muster-1", size=8, sha256=orphan)
    for digest in (image, orphan):
        age(digest, timedelta(days=4000))
    assert storage.collect_garbage().blobs == 0
    assert kept() == {image, orphan}


def test_images_of_a_release_withdrawn_long_ago_go_and_the_ledger_says_so(withdrawn, enrol):
    digest, device = withdrawn.image.sha256, enrol().device
    assert storage.collect_garbage(dry_run=True).bundles == (str(withdrawn),)
    assert kept() == {digest}
    assert storage.collect_garbage().bundles == (str(withdrawn),)
    assert kept() == set()
    [entry] = LedgerEntry.objects.filter(action="bundle.collected")
    assert entry.detail["digest"] == withdrawn.digest
    assert storage.collect_garbage() == storage.Collected((), 0, 0)
    assigned(withdrawn, device)
    with pytest.raises(NotFoundError):
        downloads.current_image(actor=device_actor(device.domain.slug, device.key), device=device)


def test_images_of_a_release_withdrawn_lately_stay(withdrawn):
    Statement.objects.filter(release=withdrawn.release).update(published_at=clock.now() - timedelta(days=20))
    assert storage.collect_garbage().bundles == ()
    assert kept() == {withdrawn.image.sha256}


def test_a_withdrawal_that_officers_have_not_signed_collects_nothing(published):
    bundle = published.bundle()
    release = published.release(bundle)
    releases.withdraw(actor=system(published.domain), release=release, reason="perhaps")
    Statement.objects.filter(release=release).update(created_at=clock.now() - timedelta(days=400))
    age(bundle.image.sha256)
    assert storage.collect_garbage().bundles == ()
    assert kept() == {bundle.image.sha256}


def test_what_an_open_action_names_stays(withdrawn, enrol):
    action = assigned(withdrawn, enrol().device)
    assert storage.collect_garbage().bundles == ()
    Assignment.objects.filter(pk=action.pk).update(closed_at=clock.now())
    assert storage.collect_garbage().bundles == (str(withdrawn),)


def test_bytes_that_another_bundle_shares_stay(withdrawn, published):
    image = withdrawn.image
    other = published.bundle("2.0.0", 2)
    BundleFile.objects.create(
        bundle=other, path="same.bin", role="provenance", size=image.size, sha256=image.sha256, sha1="", md5=""
    )
    assert storage.collect_garbage().bundles == (str(withdrawn),)
    assert image.sha256 in kept()


def test_bytes_collected_while_a_bundle_comes_in_are_written_again(published, monkeypatch):
    data = published.image()
    digest, _ = blobs.blob_store().put(io.BytesIO(data), len(data))
    age(digest)
    hold = storage.lock_digests

    def collected_just_before(digests):
        monkeypatch.setattr(storage, "lock_digests", hold)
        storage.collect_garbage()
        hold(digests)

    monkeypatch.setattr(storage, "lock_digests", collected_just_before)
    published.upload(data, published.manifest(data))
    assert kept() == {digest}


def test_a_bundle_that_cannot_be_kept_leaves_no_bytes_but_those_of_others(published, monkeypatch):
    data = published.image()
    monkeypatch.setattr(bundles.ledger, "record", lambda **_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        published.upload(data, published.manifest(data))
    assert kept() == set()


def test_of_two_that_bring_the_same_at_once_the_one_that_fails_takes_nothing_from_the_other(published, monkeypatch):
    data = published.image()
    rivals, make_folder = [], local.files.private_folder

    def a_rival_comes_in_between(folder):
        made = make_folder(folder)
        if folder.name == hashlib.sha256(data).hexdigest()[:2] and not rivals:
            rivals.append(folder)
            rivals.append(blobs.blob_store().put(io.BytesIO(data), len(data))[0])
        return made

    hold = storage.lock_digests

    def the_rival_fails_before(digests):
        monkeypatch.setattr(storage, "lock_digests", hold)
        storage.forget_bytes(rivals[1:])
        hold(digests)

    monkeypatch.setattr(local.files, "private_folder", a_rival_comes_in_between)
    monkeypatch.setattr(storage, "lock_digests", the_rival_fails_before)
    bundle = published.upload(data, published.manifest(data))
    assert rivals[1] == bundle.image.sha256
    assert kept() == {bundle.image.sha256}


def test_staging_that_a_killed_process_left_goes_after_the_grace(published):
    old, new = (now.FLEET_DIR / "blobs" / f".staging-{word}" for word in ("old", "new"))
    for folder in (old, new):
        folder.mkdir(exist_ok=True)
        (folder / "0").write_bytes(b"half an image")
    then = (clock.now() - timedelta(days=2)).timestamp()
    os.utime(old, (then, then))
    storage.collect_garbage(dry_run=True)
    assert old.exists()
    storage.collect_garbage()
    assert not old.exists()
    assert new.exists()
    (new / "0").unlink()
    new.rmdir()


@pytest.mark.skipif(connection.vendor != "postgresql", reason="on SQLite whoever writes is alone")
def test_the_collection_waits_for_whoever_is_taking_the_same_bytes_in():
    digest, _ = blobs.blob_store().put(io.BytesIO(b"contested"), 9)
    age(digest)
    held, taken_in, collected = threading.Event(), threading.Event(), threading.Event()

    def take_in():
        with transaction.atomic():
            storage.lock_digests([digest])
            held.set()
            taken_in.wait(20)
        connections.close_all()

    def collect():
        storage.collect_garbage()
        collected.set()
        connections.close_all()

    threads = [threading.Thread(target=act) for act in (take_in, collect)]
    threads[0].start()
    assert held.wait(20)
    threads[1].start()
    assert not collected.wait(1)
    assert kept() == {digest}
    taken_in.set()
    assert collected.wait(20)
    for one in threads:
        one.join()
    assert kept() == set()
