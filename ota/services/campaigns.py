"""Anchor campaigns: the configuration bundle that brings new roots to every device, for the officers to sign."""

import hashlib
import json
import ssl
from collections.abc import Sequence
from dataclasses import dataclass

from devices.models import Device, HardwareModel
from ota.models import Bundle
from pki import selectors as ground
from pki.kernel import canonical
from pki.kernel.actor import Actor, Role
from pki.kernel.errors import ConflictError
from pki.models import Authority

COMPONENT = "config"
NAME = "trust-anchors"
FILE = "config.json"


@dataclass(frozen=True, slots=True)
class Campaign:
    """A configuration bundle as files: ``bundle.json`` and ``config.json``."""

    manifest: bytes
    config: bytes


def anchors(*, actor: Actor, drop: frozenset[str] = frozenset(), wipe: Sequence[Device] = ()) -> Campaign:
    """Write the bundle that makes every device trust exactly the roots of this domain, or has some erase themselves.

    Only officers order that, by their signatures: whoever takes the server can wipe no fleet.

    Args:
        actor: a security officer.
        drop: fingerprints of roots to leave out: of a tree that is no longer in use.
        wipe: devices that shall erase keys, images and state; the bundle is for their hardware models only then.

    Raises:
        ConflictError: there is no root, or no hardware model to bring it to.
    """
    actor.require(Role.SECURITY_OFFICER)
    rows = [row for row in ground.authorities(actor.domain) if row.kind == Authority.Kind.ROOT]
    kept = [row for row in rows if row.fingerprint not in drop]
    rows_of = HardwareModel.objects.filter(domain__slug=actor.domain).order_by("name")
    models = list(rows_of.filter(pk__in=[one.hardware_model_id for one in wipe]) if wipe else rows_of)
    if not kept or not models:
        msg = "An anchor campaign needs at least one root that stays, and one hardware model."
        raise ConflictError(msg)
    before = Bundle.objects.filter(domain__slug=actor.domain, name=NAME, component=COMPONENT)
    counter = 1 + max((one.security_counter for one in before), default=0)
    version = f"{counter}.0.0"
    pems = [certificate_pem(bytes(row.der)) for row in kept]
    orders = {"wipe": [one.key for one in wipe]} if wipe else {}
    config = canonical.dumps({"schema": 1, "version": version, "anchors": pems, **orders})
    return Campaign(_manifest(version, counter, config, models), config)


def certificate_pem(der: bytes) -> str:
    """Return a certificate in PEM."""
    return ssl.DER_cert_to_PEM_cert(der)


def _manifest(version: str, counter: int, config: bytes, models: list[HardwareModel]) -> bytes:
    facts = {
        "schema": 1,
        "id": NAME,
        "version": version,
        "kind": "config",
        "format": "config",
        "component": COMPONENT,
        "security_counter": counter,
        "audience": ["production"],
        "hw": [
            {"vendor_id": str(model.vendor_id), "class_id": str(model.class_id), "name": model.name} for model in models
        ],
        "files": [
            {"path": FILE, "size": len(config), "sha256": hashlib.sha256(config).hexdigest(), "role": "image"},
        ],
    }
    return json.dumps(facts, indent=1).encode()
