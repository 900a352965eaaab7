"""Commands: fixed words, once each, signed, void after a while."""

from datetime import timedelta

import pytest

from devices.services import quarantine, registry
from ota.services import commands, offers
from pki.kernel import actor as actors
from pki.kernel import clock
from pki.kernel.errors import ConflictError, InvalidError, NotFoundError
from tests.factories.ground import system

pytestmark = pytest.mark.django_db(databases=["default", "telemetry"])


@pytest.fixture
def one(enrol):
    return enrol()


@pytest.fixture
def by(domain):
    return system(domain)


@pytest.fixture
def itself(domain, one):
    return actors.device_actor(domain.slug, one.device.key)


def give(by, one, kind="reboot", **further):
    return commands.queue_command(actor=by, device=one.device, kind=kind, reason="stuck", **further)


def test_a_command_waits_for_its_device_and_is_answered_once(by, one, itself):
    made = give(by, one)
    assert offers.poll_work(actor=itself, device=one.device).command
    commands.note_delivered(actor=itself, device=one.device)
    for _ in range(2):
        done = commands.answer_command(actor=itself, device=one.device, public_id=made.key, state="done", result="ok")
    assert (done.state, done.result) == ("done", "ok")
    assert not offers.poll_work(actor=itself, device=one.device).command
    with pytest.raises(ConflictError):
        commands.answer_command(actor=itself, device=one.device, public_id=made.key, state="failed", result="")


def test_the_same_command_again_is_the_one_that_waits(by, one):
    assert give(by, one).pk == give(by, one).pk
    assert give(by, one, "identify").pk != give(by, one).pk


def test_a_command_is_void_after_its_time(by, one, itself, domain):
    made = give(by, one, minutes=5)
    with clock.frozen(clock.now() + timedelta(minutes=6)):
        assert list(commands.waiting_for(one.device)) == []
        assert commands.expire_commands(domain=domain) == 1
        assert give(by, one).pk != made.pk
    made.refresh_from_db()
    assert made.state == "expired"


@pytest.mark.parametrize("wrong", [{"kind": "shell"}, {"reason": " "}, {"minutes": 1}, {"minutes": 10**6}])
def test_what_makes_no_sense_is_refused(by, one, wrong):
    with pytest.raises(InvalidError):
        commands.queue_command(**({"actor": by, "device": one.device, "kind": "reboot", "reason": "x"} | wrong))


def test_a_device_out_of_service_hears_none_and_a_quarantined_one_does(by, one):
    quarantine.quarantine_device(actor=by, device=one.device, reason="odd")
    assert give(by, one).state == "waiting"
    registry.suspend_device(actor=by, device=one.device)
    with pytest.raises(ConflictError):
        give(by, one, "identify")


def test_nobody_answers_for_another_device(by, one, enrol, domain):
    made, other = give(by, one), enrol("dev-2").device
    with pytest.raises(NotFoundError):
        commands.answer_command(
            actor=actors.device_actor(domain.slug, other.key), device=other, public_id=made.key, state="done", result=""
        )
