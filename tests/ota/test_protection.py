"""The protection grade follows what a device has shown, and says what it rests on."""

from datetime import timedelta

import pytest

from ota.models import Assignment
from ota.selectors.protection import protection_of
from ota.services import assignments, director, proofs
from ota.trust import protection
from pki.kernel import actor as actors
from pki.kernel import clock
from tests.ota.test_rollouts import Stage
from tests.regressions import regression

NOW = 1_800_000_000
SHOWN = {"client": "native", "director": NOW, "metadata": NOW, "documents": NOW}
SIGNED = {"app": {"signed": True, "confirmed": True}}


@pytest.mark.parametrize(
    ("proof", "components", "grade", "words"),
    [
        (SHOWN, SIGNED, "full", "names an image that officers signed: app"),
        ({"client": "native", "director": NOW}, SIGNED, "unproven", "never requested the update metadata"),
        ({"client": "native", "metadata": NOW, "documents": NOW}, SIGNED, "unproven", "never requested the director"),
        ({"client": "native", "director": NOW, "metadata": NOW}, SIGNED, "unproven", "fetched no list or bundle.json"),
        ({**SHOWN, "metadata": NOW - 2 * 86_400}, SIGNED, "unproven", "not requested the update metadata"),
        (SHOWN, {}, "unproven", "not reported an installed image"),
        (SHOWN, {"app": {"signed": False, "confirmed": True}}, "unproven", "did not sign what it runs as app"),
        (SHOWN, {"app": {"signed": True, "confirmed": False}}, "unproven", "not reported an installed image"),
        (SHOWN, {"app": {"version": "1", "confirmed": True}}, "unproven", "not reported an installed image"),
        ({"client": "suit", "manifest": NOW}, SIGNED, "manifest", "P-256 keys"),
        ({"client": "suit", "manifest": NOW}, {}, "unproven", "not reported an installed image"),
        ({"client": "suit", "manifest": NOW}, {"app": {"signed": False, "confirmed": True}}, "unproven", "as app"),
        ({"client": "suit", "manifest": NOW - 2 * 86_400}, SIGNED, "unproven", "not requested the SUIT manifest"),
        ({"client": "suit", "manifest": 1}, SIGNED, "unproven", "not requested the SUIT manifest"),
        ({"client": "ddi", "deployment": NOW}, SIGNED, "vendor", "no officers' signatures"),
        ({}, SIGNED, "", ""),
    ],
)
@regression("A4", "a client that asked for one document only, or long ago, or reported nothing that officers signed")
def test_a_grade_rests_on_what_was_shown(proof, components, grade, words):
    found = protection.grade_device(proof, components, NOW)
    assert found.grade == grade
    assert words in " ".join(found.basis)
    assert bool(found.meaning) == bool(grade)


@pytest.mark.django_db
@regression("A4", "a device asks the director only, then the metadata, then installs and reports")
def test_a_device_earns_its_grade_step_by_step(published, enrol):
    stage = Stage(published, enrol, devices=1)
    one, who = stage.devices[0].device, actors.device_actor(stage.domain.slug, stage.devices[0].device.key)

    def grade():
        one.twin.refresh_from_db()
        return protection_of(one).grade

    assert grade() == ""
    director.director_document(actor=who, device=one, nonce=b"n" * 16)
    assert grade() == "unproven"
    proofs.read_device_metadata(actor=who, device=one, name="timestamp.json")
    assert grade() == "unproven"
    proofs.read_device_metadata(actor=who, device=one, name=f"{stage.old.digest}.bundle.json")
    assert grade() == "full", "it has reported the old image, which officers signed"
    with clock.frozen(clock.now() + timedelta(days=3)):
        assert grade() == "unproven"
    stage.start()
    action = Assignment.objects.get(device=one)
    assignments.note_retrieved(actor=who, device=one, action_id=action.action_id)
    assert grade() == "vendor", "what it installs now comes by DDI"
    director.director_document(actor=who, device=one, nonce=b"n" * 16)
    assert grade() == "unproven", "what it showed before it spoke DDI counts no more"
