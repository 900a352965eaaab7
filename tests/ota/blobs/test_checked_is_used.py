"""What was hashed is what is judged and kept, whatever somebody does to names and files meanwhile."""

import hashlib
import io
import os
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from ota import sandbox
from ota.blobs import staging
from ota.blobs.local import LocalBlobs
from ota.errors import BlobStoreError
from pki.kernel import files
from tests.regressions import regression

GOOD, EVIL = b"good" * 5000, b"evil" * 5000
DIGEST = hashlib.sha256(GOOD).hexdigest()


class Attacker(threading.Thread):
    """Exchanges every file that has a name in a folder, again and again."""

    def __init__(self, folder):
        super().__init__(daemon=True)
        self.folder, self.stopped, self.seen = folder, threading.Event(), 0
        self.evil = folder.parent / "evil"
        self.evil.write_bytes(EVIL)

    def run(self):
        while not self.stopped.is_set():
            with suppress(OSError):  # gone since it was seen
                for name in self.folder.glob(".staging-*/*"):
                    self.seen += 1
                    copy = name.with_name(".evil")
                    copy.write_bytes(EVIL)
                    copy.replace(name)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stopped.set()
        self.join()


@pytest.fixture
def store(tmp_path):
    return LocalBlobs(files.private_folder(tmp_path / "blobs"))


@pytest.fixture(params=["nameless", "named"])
def kind(request, monkeypatch):
    """With and without O_TMPFILE; a flag that no file system knows makes it fail as an old one does."""
    if request.param == "named":
        monkeypatch.setattr(staging.os, "O_TMPFILE", os.O_DIRECTORY | os.O_RDWR)
    return request.param


@regression("R4", "an attacker who exchanges names in the staging folder gets no other bytes stored")
def test_a_rename_loop_gets_nothing_else_stored(store, kind):
    with Attacker(store._folder):
        for _ in range(50):
            assert store.put(io.BytesIO(GOOD), len(GOOD)) == (DIGEST, len(GOOD))
            assert b"".join(store.read(DIGEST, 0, len(GOOD))) == GOOD
            store.remove(DIGEST)


@regression("R4", "the judge reads the very file that was hashed, not what a name leads to")
def test_what_is_judged_is_what_was_hashed(store, kind, tmp_path):
    with store.staging() as area:
        staged = store.stage(io.BytesIO(GOOD), area, len(GOOD))
        for one in area.folder.iterdir():
            one.unlink()
            one.write_bytes(EVIL)
        scratch = tmp_path / "scratch"
        scratch.mkdir()
        answer = sandbox.run_confined(
            "tests.ota.hostile", {"act": "digest"}, {"image": staged.path}, scratch, 60
        ).answer
        assert answer == {"sha256": DIGEST}
        assert store.adopt(staged)


@regression("R4", "bytes that changed after they were judged are not kept")
def test_bytes_that_changed_in_place_are_not_kept(store, kind):
    with store.staging() as area:
        staged = store.stage(io.BytesIO(GOOD), area, len(GOOD))
        with staged.path.open("r+b") as file:
            file.write(b"evil")
        with pytest.raises(BlobStoreError, match="changed between verification and storage"):
            store.adopt(staged)
    assert list(store.listed()) == []


@regression("R4", "other bytes under a digest's name are neither taken for it nor used")
@pytest.mark.parametrize("how", ["bytes", "link"])
def test_a_file_under_a_false_name_is_replaced_and_never_used(store, tmp_path, how):
    store.put(io.BytesIO(GOOD), len(GOOD))
    place = store.path(DIGEST)
    place.unlink()
    (tmp_path / "elsewhere").write_bytes(EVIL)
    if how == "link":
        place.symlink_to(tmp_path / "elsewhere")
    else:
        place.write_bytes(EVIL)
    with pytest.raises(BlobStoreError, match="does not match its digest"), store.at_hand(DIGEST):
        pass
    store.put(io.BytesIO(GOOD), len(GOOD))
    assert not place.is_symlink()
    with store.at_hand(DIGEST) as path:
        place.unlink()
        place.write_bytes(EVIL)
        assert path.read_bytes() == GOOD


@regression("R4", "a child's output is opened as a plain file only: no link to a secret, no pipe")
@pytest.mark.parametrize("make", [lambda at: at.symlink_to("/etc/passwd"), os.mkfifo, Path.mkdir])
def test_what_a_child_leaves_is_no_way_to_other_files(tmp_path, make):
    make(tmp_path / "patch")
    with pytest.raises(OSError):
        files.open_plain(tmp_path / "patch")
