"""The fleet of the OpenAPI document's examples: what they name is there, under the very ids that they show."""

from dataclasses import dataclass

import pytest

from devices.models import EnrolmentRequest, Twin
from devices.proofs.claim import Shown
from devices.services import enrolment, expected, groups, hardware, incidents, registry, transfer
from devices.services import tokens as enrolment_tokens
from fleet.api.examples import given_examples
from fleet.officer import authority
from fleet.operators.services import people, tokens
from ota.models import Assignment
from ota.planning import WavePlan
from ota.services import commands, rollouts
from pki.kernel.actor import Role
from pki.kernel.errors import PendingError
from pki.models import Authority, Certificate, LedgerEntry
from pki.services import ledger, profiles
from pki.x509 import parse_csr
from tests.factories.bundles import Workshop
from tests.factories.devices import csr
from tests.factories.ground import system
from tests.factories.people import WHY


@dataclass(frozen=True)
class Ground:
    """What a run needs to know of the fleet.

    Args:
        secret: of the API token of a person with every role.
        token: internal id of that token.
        real: example of an identifier that nobody can choose, such as a fingerprint, to the one that is there.
    """

    secret: str
    token: int
    real: dict[str, str]


@pytest.fixture
def hardware_model(domain):
    """Return the hardware model that the examples name."""
    facts = {"vendor": "acme.example", "flash_model": 100_000, "arena": 40_000}
    return hardware.register_model(actor=system(domain), name="vib-node", **facts)


@pytest.fixture
def ground(domain, hardware_model, enrol, published, offline, tmp_path):
    """Return a fleet with one of everything that the examples name, of all roles and states."""
    by = system(domain)
    for role in Role:
        people.create(actor=by, username=role.replace("-", "_"), roles=[role])
    olga = people.create(actor=by, username="olga", roles=list(Role))
    own, secret = tokens.create(actor=by, operator=olga, name="contract")
    other, _ = tokens.create(actor=by, operator=olga, name="nightly export")
    _call(other, "ApiTokenOut")
    enrolled = {name: enrol(name) for name in ("gate-1", "pump-3", "pump-5", "pump-6")}
    pump = enrolled["pump-3"].device
    _call(pump, "DeviceOut")
    Twin.objects.filter(device=pump).update(config_version=given_examples()["TwinOut"]["config_version"])
    _call(hardware_model, "HardwareOut")
    registry.suspend_device(actor=by, device=enrolled["pump-6"].device)
    group = groups.create(actor=by, name="pilots")
    groups.change_members(actor=by, group=group, add=[pump], remove=[])
    _call(group, "GroupOut")
    _call(incidents.raise_for(actor=by, device=pump, severity="high", explanation=dict(WHY)), "IncidentOut")
    _call(commands.queue_command(actor=by, device=pump, kind="reboot", reason="stuck"), "CommandOut")
    _software(by, published)
    _enrolments(by, domain, hardware_model, tmp_path)
    transfer.offer_transfer(actor=by, device=enrolled["pump-5"].device)
    ledger.sequence_leaves(domain=domain)
    examples = given_examples()
    issuing = Authority.objects.get(domain=domain, kind="issuing")
    entry = LedgerEntry.objects.filter(domain=domain).order_by("id").first()
    certificate = Certificate.objects.get(fingerprint=enrolled["pump-3"].certificate.fingerprint)
    return Ground(
        secret,
        own.pk,
        {
            examples["EntryOut"]["id"]: str(entry.public_id),
            examples["AuthorityOut"]["key_id"]: issuing.key_id,
            examples["CertificateOut"]["fingerprint"]: certificate.fingerprint,
        },
    )


def _call(row, type_name):
    """Give a row the id of its example."""
    row.public_id = given_examples()[type_name]["id"]
    type(row).objects.filter(pk=row.pk).update(public_id=row.public_id)


def _software(by, workshop: Workshop):
    """Make bundles, a published release, a running rollout and its assignments."""
    released = workshop.bundle("1.2.4", 4)
    workshop.bundle("1.2.5", 5)
    release = workshop.release(released)
    waves = [WavePlan(count=1), WavePlan(share=1000)]
    rollout = rollouts.create(actor=by, name="to 1.2.4", release=release, waves=waves)
    rollouts.start(actor=by, rollout=rollout)
    rollouts.tick(domain=rollout.domain)
    assignment = Assignment.objects.filter(rollout=rollout).first()
    for row, type_name in ((released, "BundleOut"), (release, "ReleaseOut"), (rollout, "RolloutOut"),
                           (release.statement, "StatementOut"), (assignment, "AssignmentOut")):  # fmt: skip
        _call(row, type_name)


def _enrolments(by, domain, hardware_model, folder):
    """Make tokens, an enrolment that waits for a person, an expected device and a vendor."""
    token, _ = enrolment_tokens.create(actor=by, hardware_model=hardware_model, device_name="pump-8")
    _call(token, "TokenOut")
    profiles.define_profile(actor=by, name="guarded", approval=True)
    _, secret = enrolment_tokens.create(
        actor=by, hardware_model=hardware_model, device_name="pump-9", profile="guarded"
    )
    with pytest.raises(PendingError):
        enrolment.enrol(domain=domain, csr=parse_csr(csr("pump-9")[0]), via="test", shown=Shown(secret))
    _call(EnrolmentRequest.objects.get(domain=domain), "WaitingOut")
    expected.preregister_device(
        actor=by, serial="SN-1", hardware_model=hardware_model, device_name="pump-7", spki_sha256="0" * 64
    )
    pem = authority.make_root_ca(folder / "vendor", "Vendor").read_bytes()
    _call(expected.trust_vendor(actor=by, name="Acme devices", kind="idevid", pem=pem), "VendorOut")
