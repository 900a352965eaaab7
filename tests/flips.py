"""Random single-bit flips inside the signed parts of a good artefact: 100 a format in the suite, 1,000 in ``make acceptance``."""

import random
import struct
import tempfile
from pathlib import Path

from ota.errors import RefusedBundleError
from ota.formats import esp, generic, mcuboot, mender, oms, onnx_model, rauc, swu, tflite
from ota.formats.judgement import ArtefactToVerify
from pki.kernel import clock
from tests.factories.artefacts import listed

VERIFIERS = {
    "mcuboot": mcuboot, "esp": esp, "swu": swu, "rauc": rauc, "mender": mender, "generic": generic,
    "generic-cms": generic, "tflite": tflite, "onnx": onnx_model, "oms": oms, "oms-cert": oms,
}  # fmt: skip


def accepts(format_, image, signature, anchors, scratch):
    """Say whether a verifier accepts an artefact; what a verifier cannot read is refused by the child, whatever it is."""
    folder = Path(tempfile.mkdtemp(dir=scratch))
    path, beside = folder / "artefact", folder / "beside"
    path.write_bytes(image)
    if signature is not None:
        beside.write_bytes(signature)
    name = format_.split("-")[0]
    given = beside if signature is not None else None
    case = ArtefactToVerify(name, path, given, anchors, clock.unix(), folder, listed(format_, image))
    try:
        VERIFIERS[format_].judge(case)
    except RefusedBundleError:
        return False
    except Exception:
        return False
    return True


def signed(format_, data):
    """Return the ranges of an artefact that its signature covers."""
    if format_ == "mcuboot":
        _, _, header, protected, size, *_ = struct.unpack_from("<IIHHIIBBHII", data)
        return [(0, header + size + protected)]
    if format_ == "esp":
        return [(0, len(data) - esp.SECTOR)]
    if format_ == "swu":
        found = [data.index(one.data) for one in swu.unpack_cpio(data)]
        return [(at, at + len(one.data)) for at, one in zip(found, swu.unpack_cpio(data), strict=True)]
    if format_ == "rauc":
        return [(0, len(data) - 8 - struct.unpack(">Q", data[-8:])[0])]
    if format_ == "mender":
        return [_member(data, name) for name in ("version", "manifest", "header.tar.gz")]
    return [(0, len(data))]


def wrong(format_, artefact, anchors, count, scratch):
    """Return the places of flipped bits that were accepted; each had to be refused."""
    image, signature = artefact
    assert accepts(format_, image, signature, anchors, scratch), format_
    source, found = random.Random(format_), []
    places = [at for start, end in signed(format_, image) for at in range(start, end)]
    for _ in range(count):
        at, bit = source.choice(places), source.randrange(8)
        flipped = bytearray(image)
        flipped[at] ^= 1 << bit
        if accepts(format_, bytes(flipped), signature, anchors, scratch):
            found.append((at, bit))
    return found


def _member(data, wanted):
    """Return where the content of a tar member stands."""
    at = 0
    while at < len(data):
        name = data[at : at + 100].split(b"\0", 1)[0].decode()
        size = int(data[at + 124 : at + 135], 8)
        if name == wanted:
            return at + 512, at + 512 + size
        at += 512 + -(-size // 512) * 512
    raise AssertionError(wanted)
