"""What the good request of each route needs, beyond what the table of roles has: tokens, files, signatures, lists."""

import base64
import json

import cbor2
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from devices.services import tokens as enrolment_tokens
from fleet.officer import authority
from fleet.operators.services import tokens
from ota.services import commands
from pki.models import CrlShard, LedgerEntry
from pki.services import crls, ledger
from tests.factories.devices import csr
from tests.factories.ground import system
from tests.factories.people import person_with


@pytest.fixture
def ground(ids, fleet, domain, settings, tmp_path):
    """Return ids by name, with everything that any route asks for."""
    settings.FLEET_OSCORE_PORT = 5687
    by, one = system(domain), fleet.enrolled[0]
    device, bundle = one.device, fleet.bundles[-1]
    action = fleet.rollouts[0].assignments.get(device=device)
    image = fleet.workshop.image("9.0.0", 9)
    _, est_token = enrolment_tokens.create(actor=by, hardware_model=device.hardware_model, device_name="fresh-est")
    token, _ = enrolment_tokens.create(actor=by, hardware_model=device.hardware_model, device_name="fresh-2")
    commands.queue_command(actor=by, device=device, kind="collect-log", reason="why")
    operator = person_with(domain, f"spare_{domain.slug}", ["viewer"])
    api_token, _ = tokens.create(actor=by, operator=operator, name="spare")
    crls.make_list_rows(domain=domain, key_id=ids["authority"])
    crls.publish_list(domain=domain, row=CrlShard.objects.get(key_id=ids["authority"], shard=0))
    ledger.sequence_leaves(domain=domain)
    request = base64.b64encode(csr("fresh-est")[0])
    return {
        **ids,
        "csr": base64.b64decode(request),
        "csr_base64": request,
        "csr_renewal": base64.b64encode(csr(device.name)[0]),
        "est_token": est_token,
        "label": domain.slug,
        "username": operator.username,
        "api_token": api_token.public_id,
        "enrolment_token": token.public_id,
        "entry": LedgerEntry.objects.filter(domain=domain).order_by("id").first().public_id,
        "size": 1,
        "metadata": "timestamp.json",
        "sha256": bundle.image.sha256,
        "own_command": ids["command"],
        "action": action.action_id,
        "bundle_row": bundle.pk,
        "file": bundle.image.path,
        "ocsp": base64.b64encode(b"0\x03\x02\x01\x00").decode(),
        "manifest": json.dumps(fleet.workshop.manifest(image, "9.0.0", 9)).encode(),
        "image": image,
        "signed": _report(one),
        "public_key": _public_key(),
        "other_root": authority.make_root_ca(tmp_path / "another", "Another").read_text(),
    }


def _report(one):
    body = {"device": one.device.key, "sequence": 1, "at": 0, "components": {}}
    payload = cbor2.dumps(body)
    return {"payload": payload, "signature": one.key.sign(payload, ec.ECDSA(hashes.SHA256()))}


def _public_key():
    public = ec.generate_private_key(ec.SECP256R1()).public_key()
    return public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
