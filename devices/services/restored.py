"""Apply enrolments and renewals from the journal to a restored database."""

import hashlib
from collections.abc import Mapping

from django.db import transaction

from devices.contact_words import NEVER_WORD, OUT_OF_SERVICE
from devices.models import Device, HardwareModel, Twin
from devices.proofs import token
from devices.services import fleet_counts
from pki.kernel import clock
from pki.models import Certificate, TrustDomain
from pki.profiles import DEVICE
from pki.selectors import certificate_by_fingerprint
from pki.services import certificates


def apply_enrolled(fact: Mapping[str, object]) -> bool:
    """Apply an enrolment from the journal to a restored database: token used, device and certificate back."""
    domain = TrustDomain.objects.get(slug=str(fact["domain"]))
    with transaction.atomic():
        device = Device.objects.filter(domain=domain, public_id=str(fact["device"])).first()
        known = _known(str(fact["der"]))
        certificate = known or _kept(domain, fact)
        brought = device or _bring_back(domain, fact)
        used = token.mark_used(str(fact["token"]), brought, certificate.spki_sha256) if fact["token"] else False
        return not (device and known and not used)


def apply_issued(fact: Mapping[str, object]) -> bool:
    """Bring back a renewed certificate, with its place in the lineage, that a restored database does not know."""
    if _known(str(fact["der"])):
        return False
    _kept(TrustDomain.objects.get(slug=str(fact["domain"])), fact)
    return True


def _kept(domain: TrustDomain, fact: Mapping[str, object]) -> Certificate:
    parent = certificate_by_fingerprint(str(fact.get("parent", "")))
    name = str(fact.get("profile", DEVICE.name))
    return certificates.keep_certificate(
        domain=domain, der=bytes.fromhex(str(fact["der"])), renewed_from=parent, profile_name=name
    )


def _known(der: str) -> Certificate | None:
    return certificate_by_fingerprint(hashlib.sha256(bytes.fromhex(der)).hexdigest())


def _bring_back(domain: TrustDomain, fact: Mapping[str, object]) -> Device:
    device, is_new = Device.objects.update_or_create(
        domain=domain,
        name=str(fact["name"]),
        defaults={
            "public_id": str(fact["device"]),
            "hardware_model": _hardware(domain, fact),
            "state": Device.State.ACTIVE,
            "enrolled_at": clock.now(),
        },
    )
    if is_new or device.presence == OUT_OF_SERVICE:
        fleet_counts.note_count(domain.pk, NEVER_WORD, 1)
        device.presence = NEVER_WORD
        device.save(update_fields=["presence"])
    Twin.objects.get_or_create(device=device)
    return device


def _hardware(domain: TrustDomain, fact: Mapping[str, object]) -> HardwareModel:
    """Return the device's hardware model; one that was registered after the backup comes back from the fact."""
    facts = fact.get("model")
    if not isinstance(facts, dict):
        return HardwareModel.objects.get(domain=domain, class_id=str(fact["hardware"]))
    model, _ = HardwareModel.objects.get_or_create(domain=domain, class_id=str(fact["hardware"]), defaults=facts)
    return model
