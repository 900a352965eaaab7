"""OSCORE contexts: who gets one, what ends one, and numbers that are never used twice."""

from datetime import timedelta

import pytest

from devices.models import OscoreContext
from devices.services import oscore
from pki.kernel import actor as actors
from pki.kernel import clock
from pki.kernel.errors import DeniedError, LimitedError, NotFoundError
from pki.models import LedgerEntry
from tests.factories.ground import system


@pytest.fixture
def enrolled(enrol):
    return enrol("oscore-1")


@pytest.fixture
def own(domain, enrolled):
    return actors.device_actor(domain.slug, enrolled.device.key)


@pytest.fixture
def made(own, enrolled):
    return oscore.provision_context(actor=own, device=enrolled.device, certificate=enrolled.certificate)


def row(made):
    return OscoreContext.objects.get(kid=int.from_bytes(made.kid, "big"))


def test_the_same_context_has_the_same_secret_and_another_one_another(made, own, enrolled):
    assert (len(made.kid), len(made.secret), len(made.salt)) == (5, 16, 8)
    assert oscore.context_material(made.kid) == made
    other = oscore.provision_context(actor=own, device=enrolled.device, certificate=enrolled.certificate)
    assert other.kid != made.kid
    assert other.secret != made.secret


def test_the_secret_is_in_no_table_and_in_no_text(made):
    kept = OscoreContext.objects.values().get(kid=int.from_bytes(made.kid, "big"))
    assert made.secret.hex() not in str(kept)
    assert made.secret.hex() not in repr(made)
    assert repr(made.secret) not in repr(made)
    leaf = LedgerEntry.objects.get(action="device.oscore-provisioned")
    assert made.secret.hex() not in str(leaf.detail)


def test_a_device_gets_a_context_for_itself_only(domain, enrolled, enrol):
    other = enrol("oscore-2")
    with pytest.raises(DeniedError):
        oscore.provision_context(
            actor=actors.device_actor(domain.slug, other.device.key),
            device=enrolled.device,
            certificate=enrolled.certificate,
        )


def test_of_one_device_a_few_contexts_are_kept(made, own, enrolled):
    kids = []
    for number in range(oscore.MOST_CONTEXTS):
        with clock.frozen(clock.now() + timedelta(minutes=2 * number + 2)):
            again = oscore.provision_context(actor=own, device=enrolled.device, certificate=enrolled.certificate)
            kids.append(again.kid)
    assert [oscore.is_context_valid(kid) for kid in (made.kid, *kids)] == [False] + [True] * oscore.MOST_CONTEXTS
    for kid in (made.kid, b"", b"short", b"much too long", bytes(5)):
        with pytest.raises(NotFoundError):
            oscore.context_material(kid)


def test_a_device_that_wants_one_after_the_other_is_told_to_wait(own, enrolled):
    given = {"actor": own, "device": enrolled.device, "certificate": enrolled.certificate}
    for _ in range(oscore.MOST_CONTEXTS):
        oscore.provision_context(**given)
    with pytest.raises(LimitedError) as refused:
        oscore.provision_context(**given)
    assert refused.value.context["retry_after"] == oscore.BURST_SECONDS
    with clock.frozen(clock.now() + timedelta(seconds=oscore.BURST_SECONDS + 1)):
        oscore.provision_context(**given)


def test_numbers_of_ours_are_reserved_once_whatever_copy_of_the_database_is_put_back(made):
    first = oscore.reserve_numbers(made.kid)
    second = oscore.reserve_numbers(made.kid)
    assert second >= first + oscore.BLOCK
    copy = row(made)
    copy.sender_next = 0  # as an old backup has it
    copy.save()
    with clock.frozen(clock.now().replace(year=clock.now().year + 1)):
        assert oscore.reserve_numbers(made.kid) > second + oscore.BLOCK


def test_numbers_of_the_device_are_written_ahead_and_never_go_back(made):
    end = oscore.note_accepting(made.kid, 5)
    assert end == 5 + oscore.BLOCK
    assert oscore.note_accepting(made.kid, 2) == end
    oscore.store_numbers([(made.kid, end - 1, 3)])
    assert oscore.context_material(made.kid).recipient_next == end, "another memory of it has gone on since"
    oscore.store_numbers([(made.kid, end, 6)])
    assert oscore.context_material(made.kid).recipient_next == 6


def test_after_a_restore_every_number_is_in_doubt_until_one_is_proved_fresh(made):
    oscore.note_accepting(made.kid, 5)
    oscore.distrust_numbers()
    assert oscore.context_material(made.kid).recipient_next == oscore.NO_NUMBER
    assert oscore.note_accepting(made.kid, 7) == 7 + oscore.BLOCK


def test_numbers_of_a_context_that_has_ended_are_refused(made):
    row(made).delete()
    for act in (lambda: oscore.reserve_numbers(made.kid), lambda: oscore.note_accepting(made.kid, 1)):
        with pytest.raises(NotFoundError, match="no longer valid"):
            act()


def test_the_system_may_provision_too(domain, enrolled):
    assert oscore.provision_context(actor=system(domain), device=enrolled.device, certificate=enrolled.certificate).kid
