"""Describe what a signing request changes, for the officer who signs it."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from fleet.officer.authority import certificate_lines
from fleet.officer.bundle_summary import bundle_lines
from fleet.officer.signing_requests.compare import RequestedChange
from fleet.officer.signing_requests.read import COMPOSITE, CONFIG, MAX_BUNDLE, SigningRequest, read_bundle_document
from ota.contract import composite, orders
from ota.contract.bundle_documents import BundleDocument
from pki.kernel import canonical
from pki.kernel.errors import InvalidError
from pki.kernel.shown import make_printable

_MAX_CONFIG = 64 * 1024
#: documents that are listed one by one; the rest is summarized
_MOST_SHOWN = 8
_CONFIG_FIELDS = {"schema", "version", "anchors", "wipe", "server", *orders.FIELDS}


def describe_lines(request: SigningRequest, change: RequestedChange) -> list[str]:
    """Return the effects of a signature, line by line, with control characters escaped.

    Args:
        request: the verified signing request.
        change: what it changes.
    """
    return [make_printable(line) for line in _lines(request, change)]


def _lines(request: SigningRequest, change: RequestedChange) -> list[str]:
    lines = []
    for path in change.added:
        lines += [f"RELEASES {path}", *_bundle(request, path)]
    for path, reason in change.marked.items():
        lines += [f"WITHDRAWS {path}: {reason}", "  devices stop installing it; devices that already run it keep it"]
    for (component, hardware), (was, now) in change.floors.items():
        lines.append(f"RAISES THE FLOOR of {component} on hardware {hardware}: {was} -> {now}")
        lines.append("  these devices permanently refuse any lower security counter")
    if request.sequence and change.added:
        lines.append(f"  a P-256 key also signs a SUIT manifest for microcontrollers, sequence {request.sequence}")
    if request.kind == "renewal":
        lines.append(f"RENEWS targets and {len(request.documents) - 1} hash bins; the listed bundles do not change")
    for role, document in sorted(request.documents.items())[:_MOST_SHOWN]:
        lines.append(f"  {role} version {document.signed.version}, expires {document.signed.expires:%Y-%m-%d}")
    if len(request.documents) > _MOST_SHOWN:
        ends = [document.signed.expires for document in request.documents.values()]
        lines.append(f"  all {len(ends)} documents expire between {min(ends):%Y-%m-%d} and {max(ends):%Y-%m-%d}")
    return lines


def compare_release(change: RequestedChange, folder: Path) -> None:
    """Compare the release in a signing request with the officer's own copy of the bundle.

    Args:
        change: what the signing request changes.
        folder: contains ``bundle.json`` and the files that it lists.

    Raises:
        InvalidError: they differ, so the request must not be signed.
    """
    try:
        own = canonical.loads((folder / "bundle.json").read_bytes(), max_bytes=MAX_BUNDLE)
        digest = hashlib.sha256(canonical.dumps(own)).hexdigest()
        digests = {target.hashes.get("sha256") for target in change.added.values()}
        listed = own["files"] if isinstance(own, dict) else []
        wrong = [item["path"] for item in listed if _digest(folder / item["path"]) != item["sha256"]]
    except (OSError, KeyError, TypeError) as error:
        msg = f"Your own copy of the bundle cannot be read: {error}"
        raise InvalidError(msg) from error
    if digests != {digest} or wrong:
        msg = f"Do not sign this request: what it releases differs from your own copy of the bundle in {folder}."
        raise InvalidError(msg)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _bundle(request: SigningRequest, path: str) -> Iterator[str]:
    value = read_bundle_document(request, path)
    yield from bundle_lines(value)
    if value["component"] == CONFIG:
        yield from _configuration(request, value)
    if value["component"] == COMPOSITE:
        yield from _parts(request, value)


def _shown(request: SigningRequest, value: BundleDocument) -> bytes:
    """Return the image of a bundle from the signing request, looked up by the digest that the bundle lists."""
    image = next(file["sha256"] for file in value["files"] if file["role"] == "image")
    text = request.exhibits.get(image)
    if text is None:
        msg = "Do not sign this request: it does not include the content that it releases."
        raise InvalidError(msg)
    return text.encode()


def _parts(request: SigningRequest, value: BundleDocument) -> Iterator[str]:
    """Describe the parts of a composite."""
    _, parts = composite.read_parts(_shown(request, value))
    for part in parts:
        yield f"    installs TOGETHER with the other parts: {part.path}, bundle.json with SHA-256 {part.digest}"


def _configuration(request: SigningRequest, value: BundleDocument) -> Iterator[str]:
    """Describe what a configuration changes on the devices that install it."""
    text = _shown(request, value)
    content = canonical.loads(text, max_bytes=_MAX_CONFIG)
    if not isinstance(content, dict) or set(content) - _CONFIG_FIELDS:
        msg = "Do not sign this request: its configuration has an unknown field."
        raise InvalidError(msg)
    yield f"    configuration version {content.get('version')}, schema {content.get('schema')}"
    for pem in content.get("anchors", []):
        root = x509.load_pem_x509_certificate(pem.encode())
        if root.public_bytes(serialization.Encoding.PEM).decode() != pem:
            msg = "Do not sign this request: a trust anchor in its configuration is not in canonical PEM."
            raise InvalidError(msg)
        yield f"    makes devices trust the root with SHA-256 {root.fingerprint(hashes.SHA256()).hex()}"
        yield from (f"    {line}" for line in certificate_lines(root))
    yield from _orders(content)


def _orders(content: dict[str, Any]) -> Iterator[str]:  # untyped: shown as it is
    """Describe the settings of a configuration other than the trust anchors."""
    if content.get("server"):
        yield f"    devices MOVE to the server at {content['server']}"
    elif "server" in content:
        yield "    devices MOVE BACK to their factory server"
    for device in content.get("wipe", []):
        yield f"    ERASES the device {device}: it loses its key and must be enrolled again"
    for name, sealed in content.get("secrets", {}).items():
        digest = hashlib.sha256(str(sealed).encode()).hexdigest()
        yield f"    delivers the secret {name}, encrypted for devices (SHA-256 {digest})"
    for name in sorted(set(content) - {"schema", "version", "anchors", "wipe", "server", "secrets"}):
        yield f"    sets {name}: {content[name]}"
