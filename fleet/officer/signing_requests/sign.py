"""Sign a signing request, and record the newest document versions that the officer has seen."""

import json
from pathlib import Path
from typing import Any

from fleet.officer import keys
from fleet.officer.signing_requests.compare import compare_request
from fleet.officer.signing_requests.read import MAX_BUNDLE, SigningRequest, read_bundle_document
from ota.contract import suit
from pki.kernel import files, strict_json


def seen_versions(key: Path) -> dict[str, int]:
    """Return the newest version of each role that the owner of a key has seen, from the file next to the key."""
    path = _memory_of(key)
    # untyped: only this tool writes the file
    known: Any = strict_json.read_json(path.read_bytes(), max_bytes=MAX_BUNDLE) if path.exists() else {}
    return {str(role): int(version) for role, version in known.items()}


def remember_versions(request: SigningRequest, key: Path) -> None:
    """Record the versions that the owner of a key has seen."""
    known = seen_versions(key)
    for role, document in request.before.items():
        known[role] = max(known.get(role, 0), document.signed.version)
    files.write_private(_memory_of(key), json.dumps(known, sort_keys=True).encode())


def _memory_of(key: Path) -> Path:
    return key.with_name(f"{key.name}.seen.json")


def sign_request(request: SigningRequest, key: Path) -> bytes:
    """Return ``signature.json``: one signature per document and, with a P-256 key, per SUIT manifest."""
    signer = keys.load_signer(key)
    payloads = {role: document.signed_bytes for role, document in request.documents.items()}
    if signer.public_key.scheme == keys.P256:
        payloads |= {role: suit.to_be_signed(manifest) for role, manifest in suit_manifests(request).items()}
    sigs = {role: signer.sign(payload).signature for role, payload in payloads.items()}
    facts = {"statement": request.statement, "keyid": signer.public_key.keyid, "sigs": sigs, "officer": key.stem}
    return json.dumps(facts, indent=1, sort_keys=True).encode()


def suit_manifests(request: SigningRequest) -> dict[str, bytes]:
    """Return the SUIT manifests of a release, built locally from its ``bundle.json``."""
    manifests = {}
    for path in compare_request(request).added if request.sequence else ():
        for hardware, image in suit.suit_images(read_bundle_document(request, path), request.sequence).items():
            manifests[f"suit-{hardware}"] = suit.suit_manifest(image)
    return manifests
