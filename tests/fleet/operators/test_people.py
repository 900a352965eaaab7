"""How people sign in: password and second factor."""

from datetime import UTC, datetime

import pytest

from fleet.operators import totp
from fleet.operators.services import people
from pki.kernel import clock
from pki.kernel.errors import (
    ConflictError,
    DeniedError,
    InvalidError,
    NotFoundError,
    UnauthenticatedError,
)
from tests.factories.ground import person, system
from tests.factories.people import PASSWORD, set_up_account

pytestmark = pytest.mark.django_db


@pytest.fixture
def operator(domain):
    return people.create(actor=system(domain), username="anna", roles=["operator"])


def finished(operator):
    return set_up_account(operator.domain, operator)


def enter(operator, code, password=PASSWORD):
    return people.sign_in(username=operator.username, password=password, code=code, address="127.0.0.1")


@pytest.mark.parametrize(
    ("unix", "expected"), [(59, "287082"), (1111111109, "081804"), (1234567890, "005924"), (20000000000, "353130")]
)
def test_codes_are_those_of_rfc_6238(unix, expected):
    assert totp.totp_code("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ", unix // 30) == expected


def test_a_code_works_once(operator):
    secret = finished(operator)
    at = datetime(2031, 1, 1, tzinfo=UTC)
    with clock.frozen(at):
        code = totp.totp_code(secret, clock.unix() // 30)
        assert enter(operator, code).pk == operator.pk
        with pytest.raises(UnauthenticatedError):
            enter(operator, code)


def test_wrong_name_password_and_code_get_the_same_answer(operator):
    secret = finished(operator)
    with clock.frozen(datetime(2031, 1, 1, tzinfo=UTC)):
        code = totp.totp_code(secret, clock.unix() // 30)
        said = set()
        for given in (
            (operator.username, "wrong", code),
            (operator.username, PASSWORD, "000000"),
            ("nobody", "x", code),
        ):
            with pytest.raises(UnauthenticatedError) as refused:
                people.sign_in(username=given[0], password=given[1], code=given[2], address="b")
            said.add(refused.value.detail)
    assert len(said) == 1


def test_only_an_admin_makes_operators(domain, operator):
    with pytest.raises(DeniedError):
        people.create(actor=person(domain, "operator", "security-officer"), username="b", roles=[])
    people.create(actor=person(domain, "admin"), username="b", roles=["viewer"])
    with pytest.raises(ConflictError):
        people.create(actor=person(domain, "admin"), username="b", roles=[])
    with pytest.raises(InvalidError):
        people.create(actor=person(domain, "admin"), username="c", roles=["emperor"])


def test_operators_are_found_in_their_own_domain_only(operator):
    with pytest.raises(NotFoundError):
        people.operator_by_name("another", "anna")
