"""The fork test: of a device and its copy, one gives itself away; a device that loses answers does not."""

import pytest

from devices.models import Incident
from devices.proofs.claim import Shown
from devices.services import enrolment, forks, registry, tokens
from pki.kernel import actor as actors
from pki.kernel.errors import DeniedError
from pki.x509 import parse_csr
from tests.factories.devices import csr
from tests.factories.ground import system

pytestmark = pytest.mark.django_db


@pytest.fixture
def one(enrol):
    return enrol("forked-1").device


@pytest.fixture
def turn(domain, one):
    """Return how the device, or whoever has its key, reports with a token."""
    return lambda given: forks.exchange_fork_token(
        actor=actors.device_actor(domain.slug, one.key), device=one, given=given
    )


def incidents(device):
    return list(Incident.objects.filter(device=device))


def test_whoever_does_not_know_the_test_is_left_alone(turn, one):
    assert [turn(None) for _ in range(3)] == [None] * 3
    assert incidents(one) == []


def test_a_chain_of_answers_is_quiet_even_when_some_get_lost(turn, one):
    token = turn(b"")
    for _ in range(3):
        token = turn(token)
        for _ in range(4):
            turn(token)  # the answers to these get lost
    assert len({turn(token) for _ in range(3)}) == 3
    assert incidents(one) == []


def test_a_copy_and_its_original_part(turn, one):
    token = turn(turn(b""))
    copied = token
    token = turn(token)
    turn(copied)  # as if the device's own answer had got lost
    assert incidents(one) == []
    turn(token)
    [found] = incidents(one)
    assert (found.layer, found.severity, found.explanation["kind"]) == ("invariant", "high", "fork")
    assert "two devices" in found.explanation["text"]


@pytest.mark.parametrize("given", [None, b"", b"12345678"])
def test_a_copy_that_pretends_to_know_nothing_is_seen_at_once(turn, one, given):
    turn(turn(b""))
    turn(given)
    assert len(incidents(one)) == 1


def test_after_a_restore_nobody_is_suspected(turn, one):
    token = turn(turn(b""))
    forks.forget_fork_tokens()
    token = turn(token)
    turn(token)
    assert incidents(one) == []


def test_a_device_that_enrols_anew_begins_a_new_line(turn, one, domain, hardware_model):
    turn(turn(b""))
    registry.send_back(actor=system(domain), device=one)
    _, secret = tokens.create(actor=system(domain), hardware_model=hardware_model, device_name=one.name)
    enrolment.enrol(domain=domain, shown=Shown(secret), csr=parse_csr(csr(one.name)[0]), via="test")
    turn(b"")
    assert incidents(one) == []


def test_nobody_turns_for_another_device(domain, one, enrol):
    with pytest.raises(DeniedError):
        forks.exchange_fork_token(
            actor=actors.device_actor(domain.slug, enrol("forked-2").device.key), device=one, given=b""
        )
