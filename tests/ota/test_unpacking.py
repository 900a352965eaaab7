"""What compressed content may unpack to: absolute limits decide, for every compression that a device's tool knows."""

import bz2
import gzip
import io
import lzma
import struct
import subprocess
import tarfile
from functools import cache

import lz4.frame
import pytest
import zstandard

from ota.errors import RefusedBundleError
from ota.formats import bombs, rauc, tarballs
from ota.formats.judgement import ArtefactToVerify
from tests.factories.artefacts import make_zeros, noise
from tests.regressions import regression

PIECE = 16 << 20
PACKERS = {
    "gzip": lambda data: gzip.compress(data, 1),
    "bzip2": bz2.compress,
    "xz": lambda data: lzma.compress(data, preset=0),
    "lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE, preset=0),
    "lz4": lambda data: lz4.frame.compress(data, content_checksum=True),
    "zstd": lambda data: zstandard.ZstdCompressor(1).compress(data),
}


@cache
def zeros(compression):
    """Return a compressed piece of zeros; pieces may follow one another."""
    return PACKERS[compression](bytes(PIECE))


def measured(data, packed=None, what="The file"):
    return bombs.measured_size(io.BytesIO(data), bombs.UnpackingBudget(packed or len(data)), what)


@regression("C8", "content that compresses better than 100:1, below the absolute limit")
@pytest.mark.parametrize("compression", PACKERS)
def test_what_compresses_well_is_accepted_below_the_absolute_limit(compression):
    assert measured(zeros(compression)) == PIECE
    if compression != "lzma":
        assert measured(zeros(compression) * 2) == 2 * PIECE, "frames that follow one another are all counted"


@regression("V4", "a bomb in each compression that libarchive or SWUpdate unpacks")
@pytest.mark.parametrize("compression", PACKERS)
def test_a_bomb_is_refused_in_every_compression(compression):
    budget = bombs.UnpackingBudget(1)
    budget.spend(bombs.FREE - PIECE, "What came before")
    assert bombs.measured_size(io.BytesIO(zeros(compression)), budget, "The file") == PIECE
    with pytest.raises(RefusedBundleError, match=r"The file unpacks to more than the 512 MiB"):
        bombs.measured_size(io.BytesIO(zeros(compression)), budget, "The file")


def test_one_frame_of_zstd_is_not_unpacked_into_memory():
    packer = zstandard.ZstdCompressor(1).compressobj()
    data = b"".join(packer.compress(bytes(1 << 20)) for _ in range(600)) + packer.flush()
    assert len(data) < 100_000
    with pytest.raises(RefusedBundleError, match="512 MiB"):
        measured(data)


@regression("V4", "a budget that is spent by several members together")
def test_members_of_one_artefact_share_its_budget():
    budget = bombs.UnpackingBudget(1)
    budget.spend(bombs.FREE, "a")
    with pytest.raises(RefusedBundleError, match=r"^b unpacks"):
        budget.spend(1, "b")


def test_a_large_artefact_may_unpack_to_a_hundred_times_its_size_and_to_8_gib():
    assert bombs.allowed_size(1) == bombs.allowed_size(5 << 20) == 512 << 20
    assert bombs.allowed_size(10 << 20) == 1000 << 20
    assert bombs.allowed_size(1 << 30) == 8 << 30


def test_what_only_begins_like_a_compressed_stream_is_no_stream():
    for head in (b"\x1f\x8b", b"BZh9", b"\xfd7zXZ\0", b"]\0\0", b"\x04\x22\x4d\x18", b"\x28\xb5\x2f\xfd"):
        assert measured(head + noise(5000, 1)) is None
    assert measured(b"plain") is None


@pytest.mark.parametrize("compression", ["gzip", "bzip2", "xz", "lz4"])
def test_a_stream_that_is_read_to_its_end_is_whole(compression):
    good = PACKERS[compression](noise(5000, 1))
    for data in (good[:-3], good + b"others", good[:40] + bytes([good[40] ^ 255]) + good[41:]):
        stream = bombs.Unpacked(io.BytesIO(data), compression, bombs.UnpackingBudget(len(data)), "The payload")
        with pytest.raises(RefusedBundleError, match=f"The payload is not a complete {compression} stream"):
            stream.drain()
    assert bombs.Unpacked(io.BytesIO(good), compression, bombs.UnpackingBudget(1), "x").drain() == 5000


def tarball(size=1000, kind=tarfile.REGTYPE):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as made:
        member = tarfile.TarInfo("etc/x")
        member.size, member.type = size, kind
        made.addfile(member, io.BytesIO(bytes(size)))
    return out.getvalue()


def archive_size(data, packed=1):
    return tarballs.measure_archive(io.BytesIO(data), bombs.UnpackingBudget(packed), "The archive")


@regression("V4", "archives inside compression inside compression, up to a stated depth")
@pytest.mark.parametrize("compression", PACKERS)
def test_archives_are_measured_through_three_layers(compression):
    pack, data = PACKERS[compression], tarball()
    for _ in range(3):
        assert archive_size(data) == 1000
        data = pack(data)
    assert archive_size(data) == 1000
    with pytest.raises(RefusedBundleError, match="more than 3 times over"):
        archive_size(pack(data))


@regression("V4", "archives of a kind or compression that cannot be measured, by name")
@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"LZIP\1", "packed with lzip"),
        (b"\x89LZO\0\r\n\x1a\n", "packed with lzop"),
        (b"\x1f\x9d\x90", "packed with compress"),
        (b"LRZI\0", "packed with lrzip"),
        (b"\x02\x21\x4c\x18", "legacy lz4"),
        (b"\x53\x2a\x4d\x18\0", "skippable frames"),
        (b"begin 644 x\n", "uuencode"),
        (b"PK\3\4", "not a tar or cpio archive"),
        (b"7z\xbc\xaf\x27\x1c", "not a tar or cpio archive"),
        (b"", "not a tar or cpio archive"),
    ],
)
def test_archives_that_cannot_be_measured_are_refused_by_name(head, words):
    data = head + noise(2000, 2) if head else b""
    with pytest.raises(RefusedBundleError, match=words):
        archive_size(data)
    if head:
        with pytest.raises(RefusedBundleError, match=words):
            archive_size(gzip.compress(data))


@regression("V4", "files with holes in an archive")
@pytest.mark.parametrize("form", ["gnu", "posix"])
def test_a_file_with_holes_counts_with_its_full_size(tmp_path, form):
    for size, fine in ((300 << 20, True), (600 << 20, False)):
        make_zeros(tmp_path / "holes", size)
        command = ["tar", f"--format={form}", "-cS", "holes"]
        archive = subprocess.run(command, cwd=tmp_path, capture_output=True, check=True).stdout
        assert len(archive) < 20_000
        if fine:
            assert archive_size(archive) == size
        else:
            with pytest.raises(RefusedBundleError, match="with 'holes' unpacks to more than the 512 MiB"):
                archive_size(archive)


@regression("V4", "an image that RAUC unpacks with tar")
def test_the_archives_in_a_rauc_bundle_are_measured(tmp_path):
    (tmp_path / "image").write_bytes(b"bundle")
    (tmp_path / "out").mkdir()
    case = ArtefactToVerify("rauc", tmp_path / "image", None, (), 0, tmp_path)
    image = tmp_path / "out" / "rootfs.tar.zst"
    image.write_bytes(PACKERS["zstd"](tarball()))
    rauc._measure_archives(case, tmp_path / "out")
    image.write_bytes(zeros("zstd") * (bombs.FREE // PIECE + 1))
    with pytest.raises(RefusedBundleError, match=r"The image 'rootfs\.tar\.zst' unpacks to more than the 512 MiB"):
        rauc._measure_archives(case, tmp_path / "out")


def _newc(name, data, magic=b"070701"):
    fields = [1, 0o100644, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0]
    head = magic + b"".join(b"%08X" % one for one in fields) + name + b"\0"
    return head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)


def _odc(name, data):
    fields = [
        (6, 0),
        (6, 1),
        (6, 0o100644),
        (6, 0),
        (6, 0),
        (6, 1),
        (6, 0),
        (11, 0),
        (6, len(name) + 1),
        (11, len(data)),
    ]
    return b"070707" + b"".join(b"%0*o" % one for one in fields) + name + b"\0" + data


def _binary(name, data, order="<"):
    fields = [0o070707, 0, 1, 0o100644, 0, 0, 1, 0, 0, 0, len(name) + 1, len(data) >> 16, len(data) & 0xFFFF]
    head = struct.pack(f"{order}13H", *fields) + name + b"\0"
    return head + bytes(len(head) % 2) + data + bytes(len(data) % 2)


CPIO = {
    "newc": _newc,
    "crc": lambda name, data: _newc(name, data, b"070702"),
    "odc": _odc,
    "binary": _binary,
    "binary, other bytes first": lambda name, data: _binary(name, data, ">"),
}


def cpio(kind, count, data=b""):
    """Return an archive of so many files."""
    return b"".join([*(CPIO[kind](b"%d" % number, data) for number in range(count)), CPIO[kind](b"TRAILER!!!", b"")])


@pytest.mark.parametrize("kind", CPIO)
def test_cpio_archives_are_as_large_as_their_stream(kind):
    data = cpio(kind, 3, noise(70_001, 3)) + bytes(512)
    assert archive_size(gzip.compress(data)) == archive_size(data) == len(data)
    for wrong in (
        data[:-600],
        data[:200],
        data.replace(b"TRAILER!!!", b"trailer!!!"),
        data[:20] + b"\xff" * 90 + data[110:],
    ):
        with pytest.raises(RefusedBundleError, match="is not a complete cpio archive"):
            archive_size(wrong)


@regression("V4", "cpio archives of 100,001 empty files, of every kind and inside compression")
@pytest.mark.parametrize("kind", CPIO)
def test_cpio_archives_may_hold_as_many_entries_as_tar_archives(kind):
    assert archive_size(cpio(kind, tarballs.MOST_ENTRIES))
    with pytest.raises(RefusedBundleError, match="more than 100000 entries"):
        archive_size(gzip.compress(cpio(kind, tarballs.MOST_ENTRIES + 1), 1))


@regression("C8", "a RAUC bundle whose squashfs holds an image of zeros")
def test_the_files_of_a_squashfs_count_with_their_full_size(tmp_path):
    """The list of a squashfs is read before anything is unpacked, whatever compression it uses."""
    tree, image, size = tmp_path / "tree", tmp_path / "image", 300 << 20
    tree.mkdir()
    (tree / "manifest.raucm").write_text("x")
    make_zeros(tree / "rootfs.img", size)
    command = ["mksquashfs", tree, image, "-comp", "zstd", "-Xcompression-level", "1", "-no-progress", "-quiet"]
    subprocess.run(command, check=True, capture_output=True)
    assert rauc._contents(ArtefactToVerify("rauc", image, None, (), 0, tmp_path))["rootfs.img"] == size
