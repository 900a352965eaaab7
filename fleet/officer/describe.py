"""Say in words what a paper would do, for the officer who is about to sign it."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from fleet.officer import papers
from fleet.officer.papers import Change, Paper
from pki.kernel import canonical, composite
from pki.kernel.errors import InvalidError
from pki.kernel.shown import printable

_MAX_CONFIG = 64 * 1024
#: what author and officers accept by name -> in words
_ACKNOWLEDGED = {
    "arena-below-measured": "the declared arena is smaller than what the model took when it was run",
    "wide-tolerance": "golden vectors whose tolerance would hardly notice a broken model",
    "io-changed": "inputs or outputs differ from the model before it in shape, type, scale or zero point",
    "labels-changed": "labels differ from the model before it, or are in another order",
}


def lines(paper: Paper, change: Change) -> list[str]:
    """Return what a signature would do, line by line; nothing in it can move the cursor or begin a line.

    Args:
        paper: as it was read and checked.
        change: what it changes.
    """
    return [printable(line) for line in _lines(paper, change)]


def _lines(paper: Paper, change: Change) -> list[str]:
    found = []
    for path in change.added:
        found += [f"RELEASES {path}", *_bundle(paper, path)]
    for path, reason in change.marked.items():
        found += [f"WITHDRAWS {path}: {reason}", "  no device installs it any more; where it runs it stays"]
    for (component, hardware), (was, now) in change.floors.items():
        found.append(f"RAISES THE FLOOR of {component} on hardware {hardware}: {was} -> {now}")
        found.append("  such devices refuse every lower security counter, for ever")
    if paper.sequence and change.added:
        found.append(f"  with a P-256 key also: a manifest for microcontrollers, sequence {paper.sequence}")
    if paper.kind == "renewal":
        found.append(f"RENEWS targets and {len(paper.documents) - 1} bins; what is listed stays as it is")
    for role, one in sorted(paper.documents.items())[:8]:
        found.append(f"  {role} version {one.signed.version}, expires {one.signed.expires:%Y-%m-%d}")
    return found


def compare(change: Change, folder: Path) -> None:
    """Compare what a paper releases with the officer's own copy of the bundle.

    Args:
        change: what the paper changes.
        folder: holds ``bundle.json`` and the files that it lists.

    Raises:
        InvalidError: they differ; the paper is not to be signed.
    """
    try:
        own = canonical.loads((folder / "bundle.json").read_bytes(), max_bytes=papers.MAX_BUNDLE)
        digest = hashlib.sha256(canonical.dumps(own)).hexdigest()
        wanted = {target.hashes.get("sha256") for target in change.added.values()}
        listed: Any = own["files"] if isinstance(own, dict) else []
        wrong = [one["path"] for one in listed if _digest(folder / one["path"]) != one["sha256"]]
    except (OSError, KeyError, TypeError) as error:
        msg = f"Your own copy of the bundle cannot be read: {error}"
        raise InvalidError(msg) from error
    if wanted != {digest} or wrong:
        msg = f"The paper releases something else than your own copy in {folder}: do not sign it."
        raise InvalidError(msg)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _bundle(paper: Paper, path: str) -> Iterator[str]:
    value = papers.bundle(paper, path)
    yield f"  {value.get('kind')} in the format {value.get('format')}, security counter {value.get('security_counter')}"
    yield f"  for {', '.join(map(str, value.get('audience', [])))}"
    for one in value.get("hw", []):
        yield f"  on {one.get('name')} (hardware class {one.get('class_id')})"
    for one in value.get("requires", []):
        yield f"  only beside {one.get('component')} with a counter of at least {one.get('min_counter')}"
    for one in value.get("files", []):
        yield f"  {one.get('role')} {one.get('path')}: {one.get('size')} bytes, sha256 {one.get('sha256')}"
    for one in value.get("acknowledges", []):
        yield f"  ACKNOWLEDGES {one}: {_ACKNOWLEDGED.get(one, 'a finding of the server that is overridden')}"
    for place, label in enumerate(value.get("fit", {}).get("labels", [])):
        yield f"  label {place} is {label}"
    if value["component"] == papers.CONFIG:
        yield from _configuration(paper, value)
    if value["component"] == papers.COMPOSITE:
        yield from _parts(paper, value)


def _shown(paper: Paper, value: dict[str, Any]) -> bytes:
    """Return the image of a bundle, which a paper has to show: its bytes are compared with what the bundle lists."""
    image = next(one["sha256"] for one in value["files"] if one["role"] == "image")
    text = paper.exhibits.get(image)
    if text is None:
        msg = "This paper is not to be signed: it does not show what it releases."
        raise InvalidError(msg)
    return text.encode()


def _parts(paper: Paper, value: dict[str, Any]) -> Iterator[str]:
    """Show what is installed together."""
    _, parts = composite.read(_shown(paper, value))
    for one in parts:
        yield f"    installs TOGETHER, or not at all: {one.path}, bundle.json with SHA-256 {one.digest}"


def _configuration(paper: Paper, value: dict[str, Any]) -> Iterator[str]:
    """Show what a configuration changes on every device that takes it."""
    text = _shown(paper, value)
    content: Any = canonical.loads(text, max_bytes=_MAX_CONFIG)
    for pem in content.get("anchors", []):
        root = x509.load_pem_x509_certificate(pem.encode())
        if root.public_bytes(serialization.Encoding.PEM).decode() != pem:
            msg = "This paper is not to be signed: an anchor in it is not written as every reader writes it."
            raise InvalidError(msg)
        yield f"    makes devices trust the root with SHA-256 {root.fingerprint(hashes.SHA256()).hex()}"
    if content.get("server"):
        yield f"    devices MOVE to the server {content['server']}"
    elif "server" in content:
        yield "    devices MOVE BACK to the factory's server"
    for one in content.get("wipe", []):
        yield f"    ERASES the device {one}: it loses its key and has to be enrolled anew"
    for name in content.get("secrets", {}):
        yield f"    brings the secret {name}, sealed for devices"
    for name in sorted(set(content) - {"schema", "version", "anchors", "wipe", "server", "secrets"}):
        yield f"    sets {name}: {content[name]}"
