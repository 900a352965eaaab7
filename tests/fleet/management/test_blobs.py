"""``manage.py blobs``: what lies where, into a bucket, and what may go."""

import io
import json
import os

import pytest
from django.conf import settings as now
from django.core.management import call_command
from django.core.management.base import CommandError

from ota import blobs
from ota.blobs import LocalBlobs
from tests.peers import s3
from tests.peers.s3 import bucket  # noqa: F401  because it is a fixture

pytestmark = pytest.mark.django_db


def said(*arguments):
    out = io.StringIO()
    call_command("blobs", *arguments, "--json", stdout=out)
    return json.loads(out.getvalue())


def local():
    return LocalBlobs(now.FLEET_DIR / "blobs")


def test_status_counts_and_a_dry_run_removes_nothing():
    before = said("status")
    digest, _ = local().put(io.BytesIO(b"counted"), 7)
    after = said("status")
    assert (after["blobs"], after["bytes"]) == (before["blobs"] + 1, before["bytes"] + 7)
    os.utime(local().path(digest), (0, 0))
    assert said("collect", "--dry-run")["blobs"] >= 1
    assert local().size(digest) == 7


def test_without_a_bucket_nothing_is_moved():
    with pytest.raises(CommandError, match="FLEET_BLOBS contains no bucket"):
        call_command("blobs", "move")


@pytest.mark.peer
@pytest.mark.xdist_group("s3")
class TestMove:
    """Into a real bucket."""

    @pytest.fixture
    def source(self, bucket, settings, tmp_path):  # noqa: F811  because it is the fixture above
        settings.FLEET_DIR = tmp_path
        settings.FLEET_BLOBS, settings.FLEET_S3_ENDPOINT = f"s3://{s3.BUCKET}/m{os.urandom(3).hex()}", bucket.endpoint
        return LocalBlobs(tmp_path / "blobs")

    def test_every_blob_goes_and_is_there(self, source):
        digests = [source.put(io.BytesIO(bytes([number]) * 99), 99)[0] for number in range(3)]
        assert said("move") == {"moved": 3}
        assert list(source.listed()) == []
        assert {one.sha256 for one in blobs.blob_store().listed()} == set(digests)
        assert said("move") == {"moved": 0}

    def test_a_file_that_is_not_what_its_name_says_stays_and_is_named(self, source):
        digest, _ = source.put(io.BytesIO(b"good"), 4)
        source.path(digest).write_bytes(b"evil")
        with pytest.raises(CommandError, match=digest):
            said("move")
        assert source.path(digest).exists()
        assert list(blobs.blob_store().listed()) == []
