"""Both stores of blobs keep the same promises: the folder and the bucket (a real S3 service)."""

import dataclasses
import hashlib
import http.client
import io
import os
import time
from urllib.parse import urlsplit

import pytest

from ota import blobs
from ota.blobs import s3 as implementation
from ota.blobs.local import LocalBlobs
from ota.blobs.s3 import BucketPrefix, S3Blobs
from ota.errors import BlobNotFoundError, BlobStoreError, TooLargeError
from ota.services import downloads
from ota.services.downloads import Download
from tests.factories.ports import lease_port
from tests.peers import s3
from tests.peers.s3 import bucket  # noqa: F401  because it is a fixture
from tests.regressions import regression

DATA = bytes(range(256)) * 40
DIGEST = hashlib.sha256(DATA).hexdigest()


def place_of(service):
    return BucketPrefix(s3.BUCKET, f"t{os.urandom(4).hex()}/", service.endpoint)


@pytest.fixture(params=["folder", pytest.param("bucket", marks=[pytest.mark.peer, pytest.mark.xdist_group("s3")])])
def store(request, tmp_path):
    if request.param == "folder":
        return LocalBlobs(tmp_path / "blobs")
    return S3Blobs(tmp_path / "blobs", place_of(request.getfixturevalue("bucket")))


@pytest.fixture
def in_bucket(bucket, tmp_path):  # noqa: F811  because it is the fixture above
    return S3Blobs(tmp_path / "blobs", place_of(bucket))


def nothing_left(folder):
    return not [one for one in folder.rglob("*") if one.is_file() and ".staging-" in str(one)]


def test_what_was_put_is_read_whole_and_in_parts(store, tmp_path):
    assert store.put(io.BytesIO(DATA), len(DATA)) == (DIGEST, len(DATA))
    assert store.size(DIGEST) == len(DATA)
    assert b"".join(store.read(DIGEST, 0, len(DATA))) == DATA
    assert b"".join(store.read(DIGEST, 300, 77)) == DATA[300:377]
    assert b"".join(store.read(DIGEST, 300, 0)) == b""
    with store.at_hand(DIGEST) as path:
        assert path.read_bytes() == DATA
    assert nothing_left(tmp_path)


def test_the_same_bytes_are_written_once(store):
    for new in (True, False):
        with store.staging() as folder:
            assert store.adopt(store.stage(io.BytesIO(DATA), folder, len(DATA))) is new
    assert [(one.sha256, one.size) for one in store.listed()] == [(DIGEST, len(DATA))]


def test_what_is_not_kept_is_said_so(store):
    for digest in ("0" * 64, "../../etc/passwd", "", DIGEST.upper()):
        with pytest.raises(BlobNotFoundError):
            store.size(digest)
        with pytest.raises(BlobNotFoundError), store.at_hand(digest):
            pass


def test_more_bytes_than_declared_leave_nothing(store, tmp_path):
    with pytest.raises(TooLargeError):
        store.put(io.BytesIO(DATA), len(DATA) - 1)
    assert list(store.listed()) == []
    assert nothing_left(tmp_path)


def test_what_is_removed_is_gone_and_removing_again_is_well(store):
    store.put(io.BytesIO(DATA), len(DATA))
    store.remove(DIGEST)
    store.remove(DIGEST)
    assert list(store.listed()) == []
    with pytest.raises(BlobNotFoundError):
        store.size(DIGEST)


def fetched(address, headers=None):
    parts = urlsplit(address)
    connection = http.client.HTTPConnection(parts.netloc, timeout=20)
    connection.request("GET", f"{parts.path}?{parts.query}", headers=headers or {})
    answer = connection.getresponse()
    try:
        return answer.status, answer.read()
    finally:
        connection.close()


@pytest.mark.peer
@pytest.mark.xdist_group("s3")
class TestBucket:
    """What only a bucket does."""

    def test_a_large_object_goes_in_parts_and_comes_back_whole(self, in_bucket):
        data = os.urandom(1 << 20) * 17
        digest, size = in_bucket.put(io.BytesIO(data), len(data))
        with in_bucket.at_hand(digest) as path:
            assert hashlib.sha256(path.read_bytes()).hexdigest() == digest
        assert in_bucket.size(digest) == size
        facts = in_bucket._client.head_object(**in_bucket._at(digest))
        assert facts["Metadata"] == {"sha256": digest}
        assert facts["ETag"].strip('"') != digest

    def test_an_upload_in_parts_that_fails_leaves_no_parts(self, in_bucket, monkeypatch):
        monkeypatch.setattr(implementation, "PART", 1 << 20)  # the service takes no part below 5 MiB but the last
        with pytest.raises(BlobStoreError):
            in_bucket.put(io.BytesIO(os.urandom(3 << 20)), 3 << 20)
        left = in_bucket._client.list_multipart_uploads(Bucket=s3.BUCKET).get("Uploads", [])
        assert [one for one in left if one["Key"].startswith(in_bucket._location.prefix)] == []
        assert list(in_bucket.listed()) == []

    def test_a_rival_that_was_first_is_no_error(self, in_bucket, tmp_path, monkeypatch):
        rival = S3Blobs(tmp_path / "rival", in_bucket._location)
        with in_bucket.staging() as folder:
            staged = in_bucket.stage(io.BytesIO(DATA), folder, len(DATA))
            asked = in_bucket.size

            def looks_then_loses(digest):
                try:
                    return asked(digest)
                finally:
                    rival.put(io.BytesIO(DATA), len(DATA))

            monkeypatch.setattr(in_bucket, "size", looks_then_loses)
            assert not in_bucket.adopt(staged)
        assert len(list(rival.listed())) == 1

    def test_bytes_that_are_not_those_of_the_digest_are_not_believed(self, in_bucket, tmp_path):
        in_bucket.put(io.BytesIO(DATA), len(DATA))
        in_bucket._client.put_object(**in_bucket._at(DIGEST), Body=DATA[:-1] + b"!")
        with pytest.raises(BlobStoreError, match="does not match"), in_bucket.at_hand(DIGEST):
            pass
        assert nothing_left(tmp_path)

    def test_bytes_are_not_taken_for_kept_where_the_object_has_another_size(self, in_bucket):
        in_bucket._client.put_object(**in_bucket._at(DIGEST), Body=DATA[:100])
        with pytest.raises(BlobStoreError, match="wrong size"):
            in_bucket.put(io.BytesIO(DATA), len(DATA))

    def test_an_object_that_is_shorter_than_it_was_is_told(self, in_bucket):
        in_bucket.put(io.BytesIO(DATA), len(DATA))
        in_bucket._client.put_object(**in_bucket._at(DIGEST), Body=DATA[:100])
        with pytest.raises(BlobStoreError, match="returned 100 bytes instead of"):
            list(in_bucket.read(DIGEST, 0, len(DATA)))

    def test_a_presigned_address_gives_one_object_for_some_seconds(self, in_bucket):
        in_bucket.put(io.BytesIO(DATA), len(DATA))
        other, _ = in_bucket.put(io.BytesIO(b"another"), 7)
        address = in_bucket.address(DIGEST, 60)
        assert fetched(address) == (200, DATA)
        assert fetched(address, {"Range": "bytes=10-19"}) == (206, DATA[10:20])
        assert fetched(address.replace(DIGEST, other).replace(f"/{DIGEST[:2]}/", f"/{other[:2]}/"))[0] == 403
        assert fetched(address.partition("?")[0])[0] in {400, 401, 403}
        short = in_bucket.address(DIGEST, 1)
        time.sleep(2.5)  # the service's own clock decides
        assert fetched(short)[0] == 403

    def test_a_wrong_secret_and_a_silent_service_are_told_apart(self, in_bucket, tmp_path, monkeypatch):
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
        with pytest.raises(BlobStoreError, match="rejected"):
            S3Blobs(tmp_path, in_bucket._location).put(io.BytesIO(DATA), len(DATA))
        nobody = dataclasses.replace(in_bucket._location, endpoint=f"http://127.0.0.1:{lease_port()}")
        with pytest.raises(BlobStoreError, match="does not answer"):
            S3Blobs(tmp_path, nobody).size(DIGEST)


@pytest.mark.parametrize(
    ("address", "endpoint"),
    [("bucket", ""), ("s3://", ""), ("s3://b", "http://s3.example"), ("s3://b", "ftp://localhost")],
)
def test_settings_that_cannot_be_meant_are_refused(settings, address, endpoint):
    settings.FLEET_BLOBS, settings.FLEET_S3_ENDPOINT = address, endpoint
    with pytest.raises(Exception, match=r"FLEET_BLOBS|presigned"):
        blobs.blob_store()


def test_the_settings_name_the_bucket(settings):
    settings.FLEET_BLOBS = "s3://fleet/images/"
    assert blobs.configured_bucket() == BucketPrefix("fleet", "images/")
    settings.FLEET_BLOBS = ""
    assert isinstance(blobs.blob_store(), LocalBlobs)


@pytest.mark.parametrize(
    ("wanted", "sent"),
    [
        ("", {}),
        ("AES256", {"ServerSideEncryption": "AES256"}),
        ("aws:kms", {"ServerSideEncryption": "aws:kms"}),
        (
            "aws:kms:arn:aws:kms:eu:1:key/k",
            {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "arn:aws:kms:eu:1:key/k"},
        ),
    ],
)
def test_encryption_is_asked_for_as_the_setting_says(tmp_path, wanted, sent):
    assert S3Blobs(tmp_path, BucketPrefix("fleet", encryption=wanted))._encryption() == sent


@regression("R1", "the store gives other bytes than were released: no DDI client gets all of them")
def test_no_client_gets_all_of_other_bytes(tmp_path, monkeypatch):
    folder, data = LocalBlobs(tmp_path / "blobs"), os.urandom(700_000)
    digest, size = folder.put(io.BytesIO(data), len(data))
    monkeypatch.setattr(blobs, "blob_store", lambda: folder)
    file = Download(None, size, digest, "", "image.swu")
    for start in (0, 1, 300_000, size - 1):
        assert b"".join(downloads.read_end(file, start)) == data[start:]
    kept = folder.path(digest)
    kept.chmod(0o600)
    kept.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    for start in (0, 300_000, size - 1):
        got = []
        with pytest.raises(BlobStoreError, match="does not match"):
            got.extend(downloads.read_end(file, start))
        assert len(b"".join(got)) < size - start
