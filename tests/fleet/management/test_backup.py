"""Archives that are not what they seem, and commands that say what to do instead."""

import hashlib
import io
import json
import sqlite3
import tarfile

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from fleet.management import archive
from pki.kernel.errors import InvalidError

NAMES = {"main.sqlite3", "telemetry.sqlite3"}


@pytest.fixture
def databases(tmp_path):
    """Return two small databases."""
    found = []
    for name in sorted(NAMES):
        with sqlite3.connect(tmp_path / name) as made:
            made.execute("CREATE TABLE t (n INTEGER)")
        made.close()
        found.append(tmp_path / name)
    return found


@pytest.fixture
def target(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def tar(path, members, manifest=None, mode="w"):
    """Write an archive by hand."""
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in members.items() if name in NAMES}
    manifest = {"format": 1, "files": digests} if manifest is None else manifest
    with tarfile.open(path, mode) as made:
        for name, data in {archive.MANIFEST: json.dumps(manifest).encode(), **members}.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            made.addfile(entry, io.BytesIO(data))
    return path


def test_what_was_archived_comes_back_bit_for_bit(databases, tmp_path, target):
    path = tmp_path / "backup.tar"
    archive.write_archive(path, databases)
    assert path.stat().st_mode & 0o777 == 0o600
    found = archive.unpack_databases(path, target, NAMES)
    assert {name: copy.read_bytes() for name, copy in found.items()} == {
        one.name: one.read_bytes() for one in databases
    }
    assert all(copy.parent == target for copy in found.values())


GOOD = {"main.sqlite3": b"main", "telemetry.sqlite3": b"telemetry"}


@pytest.mark.parametrize(
    ("members", "manifest"),
    [
        ({"main.sqlite3": b"main"}, None),
        ({**GOOD, "../evil": b"x"}, None),
        ({**GOOD, "extra": b"x"}, None),
        ({"../main.sqlite3": b"main", "telemetry.sqlite3": b"t"}, None),
        (GOOD, {"format": 2, "files": {}}),
        (GOOD, {"format": 1, "files": dict.fromkeys(NAMES, "0" * 64)}),
        (GOOD, {"format": 1}),
        (GOOD, []),
        (GOOD, {"format": 1, "files": dict.fromkeys(NAMES, "x" * 6000)}),
    ],
    ids=["one file", "climbing", "extra", "other names", "format", "digest", "no files", "a list", "endless"],
)
def test_an_archive_that_is_not_ours_or_damaged_is_refused_and_writes_nothing_outside(
    tmp_path, target, members, manifest
):
    path = tar(tmp_path / "b.tar", members, manifest)
    before = {one.name for one in tmp_path.iterdir()}
    with pytest.raises(InvalidError):
        archive.unpack_databases(path, target, NAMES)
    assert {one.name for one in tmp_path.iterdir()} == before


def test_a_link_in_the_place_of_a_file_is_refused(tmp_path, target):
    path = tmp_path / "b.tar"
    with tarfile.open(path, "w") as made:
        manifest = json.dumps({"format": 1, "files": dict.fromkeys(NAMES, "0" * 64)}).encode()
        entry = tarfile.TarInfo(archive.MANIFEST)
        entry.size = len(manifest)
        made.addfile(entry, io.BytesIO(manifest))
        for name in NAMES:
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
            made.addfile(entry)
    with pytest.raises(InvalidError):
        archive.unpack_databases(path, target, NAMES)


def test_a_compressed_archive_is_not_unpacked(tmp_path, target):
    with pytest.raises(InvalidError):
        archive.unpack_databases(tar(tmp_path / "b.tar", GOOD, mode="w:gz"), target, NAMES)


@pytest.mark.parametrize("cut", [0, 1, 600, 5000])
def test_a_cut_archive_is_refused(databases, tmp_path, target, cut):
    path = tmp_path / "backup.tar"
    archive.write_archive(path, databases)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(InvalidError):
        archive.unpack_databases(path, target, NAMES)


def test_a_restore_beside_a_running_server_is_refused(signer, tmp_path):
    with pytest.raises(CommandError, match="Stop it first"):
        call_command("restore", str(tmp_path / "any.tar"))


def test_a_restore_needs_a_file_or_the_word_resume():
    with pytest.raises(CommandError, match="--resume"):
        call_command("restore")


def test_a_backup_overwrites_nothing(tmp_path):
    path = tmp_path / "backup.tar"
    path.write_bytes(b"precious")
    if connection.vendor == "sqlite":
        with pytest.raises(CommandError, match="already exists"):
            call_command("backup", str(path))
    assert path.read_bytes() == b"precious"
