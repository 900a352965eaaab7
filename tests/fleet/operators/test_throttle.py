"""Guessing is bounded, and shuts nobody else out."""

from datetime import timedelta

import pytest

from fleet.operators.models import Attempts
from fleet.operators.services import people, throttle
from pki.kernel import clock
from pki.kernel.errors import LimitedError, UnauthenticatedError
from tests.factories.people import PASSWORD, person_with
from tests.regressions import regression

pytestmark = pytest.mark.django_db
THIEF, HOME = "198.51.100.7", "203.0.113.9"


@pytest.fixture
def operator(domain):
    return person_with(domain, "anna", ["operator"])


def guess(username, address, password="guess"):  # noqa: S107  because it is a wrong one
    return people.sign_in(username=username, password=password, code="000000", address=address)


def test_guessing_is_stopped_before_anything_is_hashed(operator, monkeypatch):
    for _ in range(throttle.MOST_BY_NAME):
        with pytest.raises(UnauthenticatedError):
            guess("anna", THIEF)
    monkeypatch.setattr("fleet.operators.models.Operator.check_password", None)
    with pytest.raises(LimitedError) as limited:
        guess("anna", THIEF)
    assert limited.value.context["retry_after"] > 0


@regression("R9", "wrong passwords for a person from another network")
def test_whoever_guesses_elsewhere_locks_nobody_out(operator):
    for _ in range(throttle.MOST_BY_NAME + 1):
        with pytest.raises((UnauthenticatedError, LimitedError)):
            guess("anna", THIEF)
    with pytest.raises(UnauthenticatedError):  # still asked, not turned away
        guess("anna", HOME)


@regression("R9", "addresses of one IPv6 network, and IPv4 written as IPv6")
def test_one_network_is_counted_once():
    assert throttle.throttled_network("2001:db8::1") == throttle.throttled_network("2001:db8::ffff:2")
    assert throttle.throttled_network("::ffff:192.0.2.1") == throttle.throttled_network("192.0.2.1")


@regression("R9", "unknown names without end")
def test_unknown_names_leave_a_bounded_number_of_rows(db, monkeypatch):
    for number in range(throttle.MOST_BY_NETWORK + 50):
        attempt = None
        try:
            attempt = throttle.count_attempt("sign-in", THIEF, f"nobody-{number}")
        except LimitedError:
            assert attempt is None
    assert Attempts.objects.count() == throttle.MOST_BY_NETWORK + 1
    with clock.frozen(clock.now() + throttle.WINDOW + timedelta(seconds=1)):
        throttle.count_attempt("sign-in", HOME, "anna")
    assert Attempts.objects.count() == 2
    monkeypatch.setattr(throttle, "MOST_ROWS", 5)
    for number in range(20):
        throttle.count_attempt("sign-in", f"10.0.0.{number}", "anna")
    assert Attempts.objects.count() <= 6


@regression("R9", "a fleet of people behind one address who sign in rightly")
def test_what_succeeds_is_not_counted(db):
    for _ in range(throttle.MOST_BY_NETWORK * 2):
        throttle.forget_attempt(throttle.count_attempt("sign-in", HOME, "anna"))
    throttle.count_attempt("sign-in", HOME, "anna")


def test_a_success_forgets_the_persons_own_failures(operator):
    for _ in range(throttle.MOST_BY_NAME - 1):
        with pytest.raises(UnauthenticatedError):
            guess("anna", HOME, PASSWORD)
    throttle.forget_attempt(throttle.count_attempt("sign-in", HOME, "anna"))
    with pytest.raises(UnauthenticatedError):
        guess("anna", HOME)
