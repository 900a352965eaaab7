"""API tokens act as their operator, end with what created them, and admins see them all."""

from datetime import timedelta
from uuid import uuid4

import pytest

from fleet.operators.identity import actor_for
from fleet.operators.models import ApiToken
from fleet.operators.services import people, tokens
from pki.kernel import clock
from pki.kernel.actor import Role
from pki.kernel.errors import DeniedError, UnauthenticatedError
from tests.factories.ground import person, system
from tests.factories.people import Browser, person_with
from tests.regressions import regression

pytestmark = pytest.mark.django_db


@pytest.fixture
def operator(domain):
    return person_with(domain, "anna", ["operator"])


def rest(secret):
    return Browser(authorization=f"Bearer {secret}")


def new_token(operator, **further):
    return tokens.create(actor=actor_for(operator, "console"), operator=operator, name="ci", **further)


def test_a_token_acts_as_its_operator_until_it_is_revoked(operator):
    me = actor_for(operator, "api")
    token, secret = tokens.create(actor=me, operator=operator, name="ci")
    assert secret.startswith("mst_")
    assert secret not in token.secret_hash
    assert actor_for(tokens.authenticate_token(secret).operator, "api").roles == {Role.OPERATOR}
    tokens.revoke_api_token(actor=me, public_id=str(token.public_id))
    with pytest.raises(UnauthenticatedError):
        tokens.authenticate_token(secret)


def test_tokens_of_others_are_an_admins_business(domain):
    with pytest.raises(DeniedError):
        tokens.create(
            actor=person(domain, "viewer"),
            operator=people.create(actor=system(domain), username="x", roles=[]),
            name="a",
        )


@regression("A2", "an admin's token for somebody with a role that the admin lacks")
def test_an_admin_gets_no_token_with_more_roles(domain, operator):
    boss = actor_for(person_with(domain, "boss", ["admin"]), "console")
    officer = person_with(domain, "officer", ["security-officer"])
    for other in (officer, operator):
        with pytest.raises(DeniedError, match="which you lack"):
            tokens.create(actor=boss, operator=other, name="ci")
    watcher = people.create(actor=system(domain), username="watcher", roles=["viewer"])
    assert tokens.create(actor=boss, operator=watcher, name="ci")[0].operator == watcher
    assert tokens.create(actor=system(domain), operator=officer, name="ci")[0].operator == officer


def test_a_persons_own_tokens_come_in_pages(domain, operator):
    boss = person_with(domain, "boss", [Role.ADMIN])
    _, secret = new_token(boss)
    made = [new_token(boss)[0] for _ in range(2)]
    new_token(operator)
    first = rest(secret).get("/api/v1/me/tokens?limit=2&count=true").json()
    assert [one["id"] for one in first["results"]] == [str(one.public_id) for one in reversed(made)]
    assert first["count"] == 3
    rest_of_them = rest(secret).get(first["next"]).json()
    assert (len(rest_of_them["results"]), rest_of_them["next"]) == (1, None)


@regression("A2", "a token that creates one with a longer life")
def test_a_token_creates_none_that_outlives_it(operator):
    _, secret = new_token(operator, days=1)
    refused = rest(secret).post("/api/v1/me/tokens", {"name": "long", "days": 365}, "application/json")
    assert refused.status_code in {400, 422}
    assert "cannot outlive the token" in refused.json()["detail"]
    made = rest(secret).post("/api/v1/me/tokens", {"name": "cut"}, "application/json").json()
    child = ApiToken.objects.get(public_id=made["id"])
    assert child.expires_at == child.parent.expires_at
    grandchild = rest(made["secret"]).post("/api/v1/me/tokens", {"name": "deeper"}, "application/json")
    assert grandchild.status_code == 403


@regression("A2", "a token whose creating token is revoked or has expired")
def test_a_token_ends_with_the_one_that_created_it(operator):
    token, secret = new_token(operator, days=2)
    child = rest(secret).post("/api/v1/me/tokens", {"name": "child", "days": 1}, "application/json").json()
    assert rest(child["secret"]).get("/api/v1/me").status_code == 200
    ApiToken.objects.filter(public_id=child["id"]).update(expires_at=clock.now() + timedelta(days=300))
    with clock.frozen(clock.now() + timedelta(days=3)), pytest.raises(UnauthenticatedError):
        tokens.authenticate_token(child["secret"])
    tokens.revoke_api_token(actor=actor_for(operator, "console"), public_id=str(token.public_id))
    assert rest(child["secret"]).get("/api/v1/me").status_code == 401
    assert ApiToken.objects.get(public_id=child["id"]).revoked_at is not None


@regression("A2", "tokens that nobody but their operator sees")
def test_admins_list_and_revoke_every_token_of_their_domain(domain, operator):
    token, secret = new_token(operator)
    boss = person_with(domain, "boss", ["admin"])
    _, of_boss = new_token(boss)
    listed = rest(of_boss).get("/api/v1/api-tokens").json()["results"]
    assert {row["operator"] for row in listed} == {"anna", "boss"}
    assert {row["operator"] for row in rest(secret).get("/api/v1/api-tokens").json()["results"]} == {"anna"}
    other, _ = new_token(boss)
    addresses = [f"/api/v1/api-tokens/{key}/revoke" for key in (other.public_id, uuid4())]
    answers = [rest(secret).post(one, {}, content_type="application/json").status_code for one in addresses]
    assert answers == [404, 404]  # nobody learns which tokens of others there are
    page = Browser()
    page.force_login(boss)
    assert token.prefix in page.get("/api-tokens").content.decode()
    assert page.post(f"/api-tokens/{token.public_id}/revoke").status_code == 302
    assert rest(secret).get("/api/v1/me").status_code == 401
