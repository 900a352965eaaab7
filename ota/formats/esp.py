"""ESP app images with Secure Boot v2: espsecure confirms the signature, our own reader what is inside and around it.

Layout (ESP-IDF, "App Image Format" and "Secure Boot v2"): 24-byte header, segments, checksum, SHA-256, padding to a
sector of 4 KiB; then one sector with up to three signature blocks of 1,216 bytes. Nobody signs the rest of that
sector, so it has to be empty flash (0xff).
"""

import codecs
import hashlib
import importlib.metadata
import struct
import subprocess
import sys
import zlib

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils

from ota.errors import RefusedBundleError
from ota.facts import BundleFacts
from ota.formats import magic
from ota.formats.judgement import ArtefactToVerify, Judgement, read_whole_file, report_line

MAX_IMAGE = 64 * 1024 * 1024
SECTOR, BLOCK, BLOCKS = 4096, 1216, 3
MOST_SEGMENTS = 16
SECONDS = 30
_MAGIC_BLOCK, _CRC_AT = 0xE7, 1196
#: version byte of a block, and where the RSA signature stands behind modulus, exponent and their helpers
_RSA, _ECDSA, _P256, _RSA_AT = 2, 3, 2, 36 + 384 + 4 + 384 + 4
_HEADER, _SEGMENT = struct.Struct("<BBBBIB3sHBHH4sB"), struct.Struct("<II")
#: bytes of a text in the app description, which need not end with a zero
HELD_BYTES = 32
_DESCRIPTION = struct.Struct("<II8s32s32s16s16s32s32s")
_DESCRIPTION_MAGIC = 0xABCD5432


def judge(case: ArtefactToVerify) -> Judgement:
    """Return what the image says, when one of the anchors has signed it.

    Raises:
        RefusedBundleError: it is damaged, unsigned, signed with an unregistered key, or has unsigned bytes.
    """
    data = read_whole_file(case.image, MAX_IMAGE, "image")
    magic.demand_magic(data[: magic.ENOUGH], "esp")
    facts = inspect_esp(data)
    check_sector(data)
    signer = _verify(case, data)
    tool = f"espsecure {importlib.metadata.version('esptool')}"
    return Judgement(
        facts={**facts, "flash": len(data), "signer": signer},
        statements=[
            report_line("signature", tool, f"secure boot v2, signed by {signer}"),
            report_line("structure", "muster", "segments read, nothing else in the signature sector"),
        ],
    )


def inspect_esp(data: bytes) -> BundleFacts:
    """Return what header and app description say.

    Raises:
        RefusedBundleError: cut off, contradictory, or without an app description.
    """
    if len(data) < 2 * SECTOR or len(data) % SECTOR:
        msg = (
            "The size of a signed ESP image must be a multiple of 4,096 bytes. Sign it with `espsecure sign-data "
            "--version 2`."
        )
        raise RefusedBundleError(msg)
    fields = _HEADER.unpack_from(data)
    segments, chip, hashed = fields[1], fields[7], fields[12]
    at = _HEADER.size
    if not 0 < segments <= MOST_SEGMENTS:
        msg = f"The image has {segments} segments; between 1 and {MOST_SEGMENTS} are accepted."
        raise RefusedBundleError(msg)
    for _ in range(segments):
        _, size = _SEGMENT.unpack_from(data, at)
        at += _SEGMENT.size + size
        if at + SECTOR > len(data):
            msg = "The image is truncated within its segments."
            raise RefusedBundleError(msg)
    return {"chip_id": chip, "segments": segments, "hashed": bool(hashed), **_description(data)}


def check_sector(data: bytes) -> None:
    """Refuse anything but signature blocks in the last sector; what is not used of it is empty flash.

    Raises:
        RefusedBundleError: there is other data.
    """
    sector = data[-SECTOR:]
    for number in range(BLOCKS):
        block = sector[number * BLOCK : (number + 1) * BLOCK]
        if not block.strip(b"\xff"):
            continue
        crc = struct.unpack_from("<I", block, _CRC_AT)[0]
        if block[0] != _MAGIC_BLOCK or zlib.crc32(block[:_CRC_AT]) != crc or block[_CRC_AT + 4 :].strip(b"\0"):
            msg = "The signature sector is damaged, or contains other data than signature blocks."
            raise RefusedBundleError(msg)
    if sector[BLOCKS * BLOCK :].strip(b"\xff"):
        msg = "The unused part of the signature sector contains unsigned bytes."
        raise RefusedBundleError(msg)


def held_text(field: bytes) -> str:
    """Return what a field of the app description holds; half a character at the end of a full one is left out.

    Args:
        field: up to its first zero. A build cuts longer texts off after 31 or 32 bytes, wherever a character ends.
    """
    full = len(field) >= HELD_BYTES - 1
    return codecs.getincrementaldecoder("utf-8")("replace").decode(field, final=not full)


def _description(data: bytes) -> BundleFacts:
    """Return the app description at the beginning of the first segment."""
    fields = _DESCRIPTION.unpack_from(data, _HEADER.size + _SEGMENT.size)
    if fields[0] != _DESCRIPTION_MAGIC:
        msg = (
            "The image has no app description (esp_app_desc_t), so its signature does not cover a version and a "
            "security counter."
        )
        raise RefusedBundleError(msg)
    version, project = (held_text(one.split(b"\0", 1)[0]) for one in fields[3:5])
    return {"security_counter": fields[1], "version": version, "project": project}


def _verify(case: ArtefactToVerify, data: bytes) -> str:
    """Return the anchor that signed: found by our own check, and confirmed by espsecure."""
    for anchor in case.anchors:
        if "PUBLIC KEY" not in anchor.pem or not signed_by(anchor.pem, data):
            continue
        key = case.scratch / "key.pem"
        key.write_text(anchor.pem)
        command = [sys.executable, "-I", "-m", "espsecure", "verify-signature", "--version", "2"]
        command += ["--keyfile", str(key), str(case.image)]
        # It looks for its own settings in the home and working directories: both are the empty scratch folder.
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(case.scratch), "TMPDIR": str(case.scratch)}
        done = subprocess.run(  # noqa: S603  because the command is fixed and its inputs are files
            command, capture_output=True, timeout=SECONDS, check=False, cwd=case.scratch, env=environment
        )
        if done.returncode == 0:
            return anchor.name
    msg = "No registered trust key has signed this image. Sign it with a registered key."
    raise RefusedBundleError(msg)


def signed_by(pem: str, data: bytes) -> bool:
    """Return whether a key has signed an image: a block in its last sector matches, and none names another digest.

    Args:
        pem: public key: RSA with 3,072 bits, or P-256.
        data: the image with its signature sector.
    """
    digest = hashlib.sha256(data[:-SECTOR]).digest()
    key = serialization.load_pem_public_key(pem.encode())
    fits = False
    for number in range(BLOCKS):
        block = data[-SECTOR:][number * BLOCK : (number + 1) * BLOCK]
        if block[0] != _MAGIC_BLOCK:
            continue
        if block[4:36] != digest:
            return False
        fits = fits or _fits(key, block, digest)
    return fits


def _fits(key: object, block: bytes, digest: bytes) -> bool:
    hashed = utils.Prehashed(hashes.SHA256())
    try:
        if isinstance(key, rsa.RSAPublicKey) and block[1] == _RSA:
            pss = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)
            key.verify(block[_RSA_AT : _RSA_AT + 384][::-1], digest, pss, hashed)
            return True
        if isinstance(key, ec.EllipticCurvePublicKey) and block[1] == _ECDSA and block[36] == _P256:
            halves = [int.from_bytes(block[at : at + 32], "little") for at in (101, 133)]
            key.verify(utils.encode_dss_signature(*halves), digest, ec.ECDSA(hashed))
            return True
    except (InvalidSignature, ValueError):
        return False
    return False
