"""Trust-anchor campaigns: the configuration bundle with roots and address for every device, for officers to sign."""

import hashlib
import json
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from types import MappingProxyType

from django.db.models import Max

from devices.models import Device, HardwareModel
from ota import blobs
from ota.contract import orders
from ota.contract.addresses import is_server
from ota.manifest.reader import MAX_COUNTER
from ota.models import Bundle, Release
from pki import selectors as ground
from pki.kernel import canonical, intake
from pki.kernel.actor import Actor
from pki.kernel.errors import ConflictError, InvalidError
from pki.kernel.permissions import Action, permitted_rows
from pki.models import Authority

COMPONENT = "config"
NAME = "trust-anchors"
FILE = "config.json"
_MAX_CONFIG = 64 * 1024


@dataclass(frozen=True, slots=True)
class Campaign:
    """A configuration bundle as files: ``bundle.json`` and ``config.json``."""

    manifest: bytes
    config: bytes


def write_anchors_bundle(
    *,
    actor: Actor,
    drop: frozenset[str] = frozenset(),
    wipe: Sequence[Device] = (),
    server: str | None = None,
    further: Mapping[str, object] = MappingProxyType({}),
) -> Campaign:
    """Write the bundle that makes every device trust exactly this domain's roots, or orders some to erase themselves.

    Only officers can order that, with their signatures: a compromised server cannot wipe the fleet.

    Args:
        actor: a security officer.
        drop: fingerprints of roots to leave out: of a tree that is no longer in use.
        wipe: devices that must erase keys, images and state; the bundle is for their hardware models only then.
        server: the address for devices, ``https://host:port`` or ``coaps://host:port``; empty for the factory's
            address, None for the address of the previous configuration.
        further: time sources, policy keys, secrets (``ota.contract.orders``); what is not named stays as it is.

    Raises:
        ConflictError: there is no root, or no hardware model to bring it to.
        InvalidError: the address is none, or something else is malformed.
    """
    orders.check_orders(further)
    hardware = permitted_rows(actor, Action.WRITE_CAMPAIGN, HardwareModel.objects.order_by("name"))
    rows = [row for row in ground.list_authorities(actor=actor) if row.kind == Authority.Kind.ROOT]
    kept = [row for row in rows if row.fingerprint not in drop]
    models = list(hardware.filter(pk__in=[device.hardware_model_id for device in wipe]) if wipe else hardware)
    if not kept or not models:
        msg = "An anchor campaign needs at least one root to keep and one hardware model."
        raise ConflictError(msg)
    counter = _next_counter(actor.domain)
    told: dict[str, object] = {"wipe": [device.key for device in wipe]} if wipe else {}
    told |= {**_address(actor.domain, server), **orders_in_force(actor.domain), **further}
    return _written(counter, [certificate_pem(bytes(row.der)) for row in kept], told, models)


def _next_counter(slug: str) -> int:
    """Return the first counter above those of all published configurations whose version is not taken.

    An upload with a high counter that was never published does not raise the next one.

    Raises:
        ConflictError: there is none left.
    """
    uploaded = Bundle.objects.filter(domain__slug=slug, name=NAME, component=COMPONENT)
    published = uploaded.filter(release__published_at__isnull=False)
    last = published.aggregate(last=Max("security_counter"))["last"] or 0
    taken = set(uploaded.values_list("version", flat=True))
    counter = next(number for number in count(last + 1) if _version(number) not in taken)
    if counter > MAX_COUNTER:
        msg = (
            f"A configuration with the highest security counter ({MAX_COUNTER}) was published; no later one is "
            "possible."
        )
        raise ConflictError(msg)
    return counter


def _version(counter: int) -> str:
    return f"{counter}.0.0"


def _written(counter: int, pems: list[str], told: Mapping[str, object], models: list[HardwareModel]) -> Campaign:
    version = _version(counter)
    config = canonical.dumps({"schema": 1, "version": version, "anchors": pems, **told})
    return Campaign(_manifest(version, counter, config, models), config)


def _address(domain: str, server: str | None) -> dict[str, str]:
    address = server_in_force(domain) if server is None else server
    if address and not is_server(address):
        msg = "The address must be https://host:port or coaps://host:port in lower case, and nothing else."
        raise InvalidError(msg)
    return {"server": address} if address or server is not None else {}


def server_in_force(domain: str) -> str:
    """Return the address in the newest released configuration; empty for the factory's address."""
    newest = _in_force(domain)
    return str(newest.facts.get("server") or "") if newest else ""


def orders_in_force(domain: str) -> dict[str, object]:
    """Return the other settings of the newest released configuration: time sources, policy keys, secrets."""
    newest = _in_force(domain)
    if newest is None or not any(newest.facts.get("orders", {}).values()):
        return {}
    with blobs.blob_store().at_hand(newest.image.sha256) as path:
        document = intake.map_of(canonical.loads(path.read_bytes(), max_bytes=_MAX_CONFIG), "configuration")
    return {name: order for name, order in orders.check_orders(document).items() if order}


def _in_force(domain: str) -> Bundle | None:
    rows = Bundle.objects.filter(domain__slug=domain, component=COMPONENT, kind=Bundle.Kind.CONFIG)
    return rows.filter(release__state=Release.State.PUBLISHED).order_by("-release__published_at", "-id").first()


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
