"""Seeded mutations of good input, and what they are fed to: 500 of each in the suite, 10,000 in ``make acceptance``."""

import base64
import random
import time
from dataclasses import dataclass
from typing import Any

import cbor2

#: no bad input may hold a listener up for longer
MOST_SECONDS = 1.0


@dataclass
class Target:
    """One reader of what strangers send."""

    name: str
    good: bytes
    read: Any
    refusals: tuple


def mutated(source, data):
    """Return data with one to five bytes changed, taken out or put in."""
    changed = bytearray(data)
    for _ in range(source.randrange(1, 6)):
        act, position = source.randrange(3), source.randrange(len(changed))
        if act == 0:
            changed[position] = source.randrange(256)
        elif act == 1:
            del changed[position : position + source.randrange(1, 20)]
        else:
            changed[position:position] = source.randbytes(source.randrange(1, 20))
        if not changed:
            changed = bytearray(b"\0")
    return bytes(changed)


def survives(target, count):
    """Return what went wrong: inputs on which a reader failed otherwise than by a refusal, or took too long."""
    source, wrong = random.Random(target.name), []
    for _ in range(count):
        data = mutated(source, target.good)
        started = time.monotonic()
        try:
            target.read(data)
        except target.refusals:
            pass
        except Exception as error:
            wrong.append(f"{type(error).__name__}: {error} on {data.hex()[:200]}")
        if time.monotonic() - started > MOST_SECONDS:
            wrong.append(f"slow on {data.hex()[:200]}")
    return wrong


def pki_targets():
    """Return the readers of the CA: requests, EST bodies, OCSP, revocation entries, TPM structures, answers of a TPM."""
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.x509 import ocsp as library

    from fleet.gateway import codec
    from fleet.gateway.est import adapter
    from fleet.gateway.protocol import DeviceRequest, TransportPeer
    from fleet.gateway.resources import enrol
    from pki import der, ocsp
    from pki.kernel.errors import DomainError
    from pki.tpm import structures
    from pki.x509 import parse_csr
    from tests.factories.devices import csr

    def body(data, kind="application/pkcs10"):
        return DeviceRequest(TransportPeer(), "POST", "/", "localhost", "localhost", data, {"content-type": kind})

    request = library.OCSPRequestBuilder().add_certificate_by_hash(b"\1" * 32, b"\2" * 32, 77, hashes.SHA256())
    asked = request.build().public_bytes(serialization.Encoding.DER)
    refused = (DomainError,)
    answer = {"session": "0" * 36, "secret": b"s" * 32, "key": _attested(), "quote": {**_attested(), "pcrs": bytes(64)}}
    return [
        Target("requests", csr()[0], parse_csr, refused),
        Target("EST bodies", base64.b64encode(csr()[0]), lambda data: parse_csr(adapter._csr(body(data))), refused),
        Target("OCSP requests", asked, ocsp.read_question, ()),
        Target("DER", asked, der.sequence_parts, refused),
        Target("TPM public areas", _public(), structures.parse_public, refused),
        Target("TPM attestations", _attest(), structures.parse_attest, refused),
        Target(
            "TPM answers",
            cbor2.dumps(answer),
            lambda data: enrol._answer(codec.decode_body(body(data, codec.CBOR), None)),
            refused,
        ),
    ]


def format_targets(makers):
    """Return the readers of artefacts; what else they raise, the child that judges turns into a refusal."""
    import io
    import struct

    from ota.errors import RefusedBundleError
    from ota.formats import esp, graph, jws, mcuboot, mender, oms, onnx_model, rauc, swu

    def whole(data):
        mcuboot.read_structure(data, mcuboot.read_mcuboot_header(data))

    def sector(data):
        esp.inspect_esp(data)
        esp.check_sector(data)

    usual = (RefusedBundleError, struct.error, ValueError, IndexError, KeyError, TypeError, OverflowError, EOFError)
    manifest = "[update]\ncompatible=node\nversion=1\n[bundle]\nformat=verity\n[image.x]\nfilename=x.img\n"
    token = makers.jws(b"payload")
    anchors, folder = makers.anchors("generic"), makers.make("oms-cert")
    return [
        Target("MCUboot images", makers.make("mcuboot")[0], whole, usual),
        Target("ESP images", makers.make("esp")[0], sector, usual),
        Target("SWUpdate archives", makers.make("swu")[0], swu.unpack_cpio, usual),
        Target("Mender artifacts", makers.make("mender")[0], lambda data: mender._read(io.BytesIO(data)), usual),
        Target("RAUC manifests", manifest.encode(), lambda data: rauc.read_manifest(data.decode("latin-1")), usual),
        Target("detached signatures", token, lambda data: jws.verify_jws(b"payload", data, anchors), usual),
        Target("OMS signatures", folder[1], lambda data: _oms(oms, data), usual),
        Target("TFLite models", makers.make("tflite")[0], graph.read_model, usual),
        Target("ONNX models", makers.make("onnx")[0], onnx_model.inspect_onnx, usual),
    ]


def description_targets():
    """Return the readers of what SWUpdate archives say and hold."""
    import gzip
    import io

    from ota.errors import RefusedBundleError
    from ota.formats import bombs, tarballs
    from ota.formats.swupdate import revisions
    from ota.formats.swupdate.cpio import unpack_cpio
    from ota.formats.swupdate.description import read_description
    from ota.formats.swupdate.libconfig import read_libconfig
    from tests.factories import descriptions
    from tests.peers.swupdate import archive

    def measure(data):
        tarballs.measure_archive(io.BytesIO(data), bombs.UnpackingBudget(len(data)), "The archive")

    refused = (RefusedBundleError,)
    text = descriptions.software(descriptions.SETS + "/* x */ a = [ 1, 2 ]; b = 0x1FL; # y\n")
    members = archive([("sw-description", text), ("p.bin", b"x" * 100)])
    return [
        Target("libconfig texts", text, read_libconfig, refused),
        Target("descriptions in libconfig", descriptions.software("", descriptions.BOARDS), read_description, refused),
        Target(
            "descriptions in JSON", descriptions.tree(properties={"a": ["b", 1.5, None]}), read_description, refused
        ),
        Target("cpio archives", members, unpack_cpio, refused),
        Target("packed tar archives", gzip.compress(descriptions.tarball()), measure, refused),
        Target(
            "expressions of revisions",
            b"^(rev[A-C]+|x{2,3})\\.[0-9]?$",
            lambda data: revisions.accepts_revision([revisions.PREFIX + data.decode("latin-1")], "revA.1"),
            (),
        ),
    ]


def _oms(reader, data):
    """Read a signature, who made it, and what it covers."""
    material, envelope = reader._envelope(data)
    payload = reader._base64(envelope["payload"])
    reader._resources(payload)
    reader._certificate(material["x509CertificateChain"]["certificates"][0]["rawBytes"])


def _public():
    """Return a TPM2B_PUBLIC of a P-256 signing key."""
    from cryptography.hazmat.primitives.asymmetric import ec

    numbers = ec.generate_private_key(ec.SECP256R1()).public_key().public_numbers()
    points = b"".join(b"\x00\x20" + value.to_bytes(32, "big") for value in (numbers.x, numbers.y))
    area = bytes.fromhex("0023000b00050072" + "0000" + "0010" + "0018000b" + "0003" + "0010") + points
    return len(area).to_bytes(2, "big") + area


def _attest():
    """Return a TPMS_ATTEST of a quote."""
    head = bytes.fromhex("ff5443478018") + b"\x00\x04name" + b"\x00\x14" + b"n" * 20 + bytes(25)
    return head + bytes.fromhex("00000001000b03810000") + b"\x00\x20" + b"d" * 32


def _attested():
    return {
        "public": _public(),
        "attest": _attest(),
        "signature": b"\x00\x18\x00\x0b" + b"\x00\x20" + b"r" * 32 + b"\x00\x20" + b"s" * 32,
    }
