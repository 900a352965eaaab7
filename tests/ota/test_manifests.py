"""Manifests for microcontrollers: made and signed by officers with P-256 keys, chosen by the server, believed by few rules."""

import pytest

from fleet.agent import micro
from fleet.agent.errors import RefusedError
from fleet.agent.state import StateFile
from fleet.officer import keys
from ota.contract import suit
from ota.errors import MetadataError
from ota.models import Assignment, Rollout, Wave
from ota.selectors.protection import protection_of
from ota.services import manifests, releases, statements
from pki.kernel import actor as actors
from pki.kernel import clock
from pki.kernel.errors import NotFoundError
from tests.factories.assignments import offer_assignment, schedule_assignment
from tests.factories.ground import system

pytestmark = pytest.mark.django_db


@pytest.fixture
def small(workshop):
    """Return a workshop whose officers have P-256 keys."""
    for name in ("anna", "bruno", "carla"):
        (workshop.folder / f"{name}.key").unlink()
        keys.generate_key(workshop.folder, name, p256=True)
    workshop.ceremony()
    (workshop.folder / "root.json").write_bytes(workshop.root)
    return workshop


def offered(workshop, enrol, release):
    """Return a device to which a release is offered, and its actor."""
    one = enrol("mcu-1")
    facts = {"success_permille": 1, "error_permille": 1000, "state": "running"}
    rollout = Rollout.objects.create(domain=workshop.domain, name="r", release=release, **facts)
    wave = Wave.objects.create(rollout=rollout, index=0, label="all", state="open", soak_s=0)
    made = schedule_assignment(rollout=rollout, wave=wave, device=one.device, bundle=release.bundle)
    offer_assignment(actor=system(workshop.domain), assignment=made)
    return one.device, actors.device_actor(workshop.domain.slug, one.device.key)


def test_a_device_gets_what_two_officers_signed(small, enrol, tmp_path):
    release = small.release(small.bundle())
    device, actor = offered(small, enrol, release)
    envelope = manifests.current_envelope(actor=actor, device=device)
    assert len(envelope) <= 400
    device.twin.refresh_from_db()
    assert protection_of(device).grade == "unproven", "it has asked, and told nothing of what it runs"
    who = micro.release_officers(small.folder / "root.json")
    assert (len(who.keys), who.threshold) == (3, 2)
    state, hardware = StateFile(tmp_path / "disk"), device.hardware_model
    ids = (str(hardware.vendor_id), str(hardware.class_id))
    found = micro.read_assignment(envelope, who, state, *ids)
    image = release.bundle.image
    assert (found.component, found.length, found.sha256) == ("app", image.size, image.sha256)
    micro.store_sequence(state, found)
    with pytest.raises(RefusedError, match="not above"):
        micro.read_assignment(envelope, who, state, *ids)
    with pytest.raises(RefusedError, match="other hardware"):
        micro.read_assignment(envelope, who, StateFile(tmp_path / "other"), ids[0], ids[0])


def test_a_server_alone_makes_no_manifest(small, enrol, tmp_path):
    release = small.release(small.bundle())
    device, actor = offered(small, enrol, release)
    image, manifest, signatures = suit.read_envelope(manifests.current_envelope(actor=actor, device=device))
    who, state = micro.release_officers(small.folder / "root.json"), StateFile(tmp_path / "disk")
    ids = (str(image.vendor), str(image.hardware))
    for odd in (signatures[:1], [signatures[0]] * 2, [], [signatures[0], bytes(64)]):
        with pytest.raises(RefusedError, match="release officers"):
            micro.read_assignment(suit.suit_envelope(manifest, odd), who, state, *ids)


def test_a_withdrawn_release_has_no_manifest_any_more(small, enrol):
    release = small.release(small.bundle())
    device, actor = offered(small, enrol, release)
    small.publish(releases.withdraw(actor=system(small.domain), release=release, reason="bad").withdrawal)
    Assignment.objects.filter(device=device).update(rollout=None)  # whatever the rows say
    with pytest.raises(NotFoundError):
        manifests.current_envelope(actor=actor, device=device)


def test_officers_with_other_keys_sign_no_manifest(published, enrol):
    release = published.release(published.bundle())
    device, actor = offered(published, enrol, release)
    with pytest.raises(NotFoundError):
        manifests.current_envelope(actor=actor, device=device)


def test_a_p256_officer_signs_the_manifest_too_or_not_at_all(small):
    statement = releases.prepare_release(actor=system(small.domain), bundle=small.bundle()).statement
    import json

    whole = json.loads(small.sign(statement, "anna"))
    assert any("manifest for microcontrollers" in line for line in small.told(statement))
    role = next(one for one in whole["sigs"] if one.startswith("suit-"))
    for sigs in (
        {name: sig for name, sig in whole["sigs"].items() if name != role},
        {**whole["sigs"], role: next(sig for name, sig in whole["sigs"].items() if name != role)},
    ):
        signature = json.dumps({**whole, "sigs": sigs}).encode()
        with pytest.raises(MetadataError):
            statements.submit(actor=system(small.domain), statement=statement, signature=signature)


def test_a_sequence_from_the_far_future_is_not_signed(small, monkeypatch):
    statement = releases.prepare_release(actor=system(small.domain), bundle=small.bundle()).statement
    monkeypatch.setattr(clock, "unix", lambda: 1_000)
    from pki.kernel.errors import InvalidError

    with pytest.raises(InvalidError, match="sequence"):
        small.sign(statement, "anna")
