"""Write a composite: the bundle that lists bundles to install together."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from devices.names import AUDIENCES
from ota.contract import composite
from ota.errors import RefusedBundleError
from ota.models import Bundle
from pki.kernel import canonical

FILE = "parts.json"


@dataclass(frozen=True, slots=True)
class Written:
    """A composite bundle as files: ``bundle.json`` and ``parts.json``."""

    manifest: bytes
    parts: bytes


def write_composite(*, bundles: Sequence[Bundle], name: str, version: str, counter: int) -> Written:
    """Write a composite of stored bundles, for the hardware and audience that all of them share.

    Raises:
        RefusedBundleError: they share none, or cannot be parts together.
    """
    named = [{"component": b.component, "id": b.name, "version": b.version, "digest": b.digest} for b in bundles]
    parts = canonical.dumps({"schema": 1, "version": version, "parts": named})
    composite.read_parts(parts)
    rows = [{hardware["class_id"]: hardware for hardware in bundle.manifest["hw"]} for bundle in bundles]
    classes = [hardware for class_id, hardware in rows[0].items() if all(class_id in others for others in rows)]
    audience = [one for one in AUDIENCES if all(one in bundle.audience for bundle in bundles)]
    if not classes or not audience:
        msg = "These bundles share no hardware, or no audience; a composite is for devices that can take all of them."
        raise RefusedBundleError(msg)
    file = {"path": FILE, "size": len(parts), "sha256": hashlib.sha256(parts).hexdigest(), "role": "image"}
    kind = composite.COMPONENT
    facts = {"schema": 1, "id": name, "version": version, "kind": kind, "format": kind, "component": kind}
    facts |= {"security_counter": counter, "audience": audience, "hw": classes, "files": [file]}
    return Written(json.dumps(facts, indent=1).encode(), parts)
