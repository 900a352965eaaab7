"""Kinds of artefacts are told apart by their structure: encrypted data passes, real files of other kinds do not."""

import io
import random
import struct
import subprocess

import onnx
import pytest

from ota.errors import RefusedBundleError
from ota.formats import generic, magic, oms
from ota.formats.judgement import ArtefactToVerify
from pki.kernel import clock
from tests.factories import models
from tests.factories.artefacts import Makers, archive, esp_image, tar
from tests.peers.programs import require
from tests.regressions import regression

BEGINNINGS = [
    b"\xe9", b"\xe9\x01\x02\x20", b"\xe9\x05\x00\x00", b"\x1f\x8b", b"\x1f\x8b\x08", b"PK\x03\x04", b":", b"hsqs", b"\x7fELF",
    b"\x08\x08", b"\x08\x0a\x3a", b"\x3a", b"0707", b"version", b"....TFL3", b"\x30\x82", b"070702", b"version\0",
]  # fmt: skip


@pytest.fixture(scope="module")
def makers(tmp_path_factory):
    return Makers(tmp_path_factory.mktemp("kinds"))


@pytest.fixture
def generic_accepts(makers, tmp_path):
    def judge(data):
        (tmp_path / "image").write_bytes(data)
        (tmp_path / "sig").write_bytes(makers.jws(data))
        anchors = makers.anchors("generic")
        case = ArtefactToVerify("generic", tmp_path / "image", tmp_path / "sig", anchors, clock.unix(), tmp_path)
        return generic.judge(case).facts["flash"] == len(data)

    return judge


@regression("C6", "10,000 random blobs, half of them begin as a known format does")
def test_encrypted_data_is_of_no_kind():
    source = random.Random(14)
    for number in range(10_000):
        blob = source.randbytes(source.choice((1, 7, 30, 512, 4096)))
        if number % 2:
            blob = source.choice(BEGINNINGS) + blob
        assert magic.kind_of_bytes(blob) is None, blob[:40]


@regression("C6", "encrypted blobs with the first byte 0xE9 as generic firmware")
def test_an_encrypted_image_is_accepted_whatever_its_first_byte_is(generic_accepts):
    assert generic_accepts(b"\xe9" + random.Random(3).randbytes(4095))
    assert generic_accepts(b":" + random.Random(4).randbytes(4095))


def plain_squashfs(folder):
    (folder / "tree").mkdir()
    (folder / "tree" / "etc").write_text("x")
    command = [require("mksquashfs"), folder / "tree", folder / "plain.sqfs", "-quiet", "-no-progress"]
    subprocess.run(command, check=True, capture_output=True)
    return (folder / "plain.sqfs").read_bytes()


OTHERS = {
    "a list of numbers": lambda _: b"070702,17,4711\n" * 50,
    "a text with TFL3 in it": lambda _: b"see TFL3, the identifier\n" * 9,
    "a squashfs file system": plain_squashfs,
    "a tar archive with a file called version": lambda _: tar([("version", b"2.3.4\n"), ("app", b"x" * 900)]),
    "a cpio archive": lambda _: archive([("etc/hostname", b"node")]),
    "a boot sector": lambda _: b"\xe9\x05\x02" + bytes(507) + b"\x55\xaa",
    "protobuf that is no model": lambda _: b"\x08\x96\x01\x12\x07testing",
    "an ESP8266 image": lambda _: b"\xe9\x01\x00\x20" + struct.pack("<III", 0x40100000, 0x40100000, 64) + b"\x5a" * 68,
}


@pytest.mark.parametrize("name", OTHERS)
@regression("C6", "files that share magic bytes with a format and are of another kind")
def test_files_that_only_begin_as_a_format_does_are_of_no_kind(name, tmp_path, generic_accepts):
    data = OTHERS[name](tmp_path)
    assert magic.kind_of_bytes(data) is None
    assert generic_accepts(data)


def graph_first(data):
    """Return the same model with its graph as the first field: protobuf has no order."""
    whole = onnx.load_model_from_string(data)
    head, graph = onnx.ModelProto(), onnx.ModelProto()
    head.CopyFrom(whole)
    head.ClearField("graph")
    graph.graph.CopyFrom(whole.graph)
    return graph.SerializePartialToString() + head.SerializePartialToString()


REAL = {
    "mcuboot": lambda makers: makers.mcuboot()[0],
    "esp": lambda makers: makers.esp()[0],
    "esp unsigned": lambda _: esp_image(),
    "swu": lambda makers: makers.swu()[0],
    "swu as cpio newc": lambda makers: makers.swu()[0].replace(b"070702", b"070701", 1),
    "rauc": lambda makers: makers.rauc()[0],
    "rauc with an encrypted payload": lambda makers: b"\x5a" * 4096 + makers.rauc()[0][4096:],
    "mender": lambda makers: makers.mender()[0],
    "mender unsigned": lambda makers: makers.mender(key=None)[0],
    "tflite": lambda _: models.dense(),
    "onnx": lambda _: models.matmul(),
    "onnx with its graph first": lambda _: graph_first(models.matmul()),
}


@pytest.mark.parametrize("name", REAL)
@regression("C6", "real files of every format as generic ones")
def test_a_real_file_of_another_kind_is_refused(makers, name, generic_accepts):
    data = REAL[name](makers)
    assert magic.kind_of_artefact(io.BytesIO(data)) == name.split()[0]
    with pytest.raises(RefusedBundleError, match=f"upload it with the format '{name.split()[0]}'"):
        generic_accepts(data)


@regression("C6", "an ONNX model under another name in a signed folder, and firmware as its model")
def test_the_model_of_a_folder_is_read_by_what_it_is_not_by_its_name():
    assert oms._inspected(models.matmul(), "model.bin").facts["inner"] == "onnx"
    assert oms._inspected(b"\xe9" + bytes(200), "model.bin").facts["inner"] == "opaque"
    with pytest.raises(RefusedBundleError, match="format 'esp'"):
        oms._inspected(esp_image(), "model.bin")
