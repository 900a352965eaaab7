"""One-time links open first set-up or recovery and nothing else."""

from datetime import timedelta

import pytest

from fleet.operators import totp
from fleet.operators.identity import actor_for
from fleet.operators.models import LoginLink
from fleet.operators.services import links, people
from pki.kernel import clock
from pki.kernel.errors import ConflictError, DeniedError, InvalidError, UnauthenticatedError
from tests.factories.ground import person, system
from tests.factories.people import PASSWORD, Browser, person_with, set_up_account
from tests.regressions import regression

pytestmark = pytest.mark.django_db
ADDRESS = "127.0.0.1"


@pytest.fixture
def operator(domain):
    return people.create(actor=system(domain), username="anna", roles=["operator"])


def new_word(domain, operator, actor=None):
    _, path = links.create_link(actor=actor or system(domain), operator=operator)
    return path.rsplit("/", 1)[1]


def now_code(secret):
    return totp.totp_code(secret, clock.unix() // totp.STEP_SECONDS)


@regression("A1", "a link opened in a browser signs nobody in before both factors are proved")
def test_a_link_shows_nothing_but_the_set_up(domain, operator):
    client = Browser()
    address = f"/sign-in/link/{new_word(domain, operator)}"
    assert client.get(address).status_code == 200
    assert client.post(address).headers["Location"] == "/set-up/password"
    assert client.get("/devices").headers["Location"].startswith("/sign-in")
    assert client.get("/api/v1/me").status_code == 401
    assert client.get("/set-up/totp").headers["Location"] == "/set-up/password"

    client.post("/set-up/password", {"password": PASSWORD})
    assert client.get("/devices").headers["Location"].startswith("/sign-in")
    secret = client.get("/set-up/totp").context["secret"]
    assert client.post("/set-up/totp", {"code": "000000"}).status_code == 200
    assert client.get("/devices").headers["Location"].startswith("/sign-in")
    assert client.post("/set-up/totp", {"code": now_code(secret)}).headers["Location"] == "/"
    assert client.get("/devices").status_code == 200


@regression("A1", "a link that was used, replaced by a newer one, left for an hour, or outlived by the set-up")
@pytest.mark.parametrize("ended_by", ["use", "newer link", "time", "set-up", "disabled account"])
def test_a_link_that_has_ended_opens_nothing(domain, operator, ended_by):
    word, after = new_word(domain, operator), timedelta()
    if ended_by == "use":
        links.open_link(word=word, address=ADDRESS)
    elif ended_by == "newer link":
        new_word(domain, operator)
    elif ended_by == "time":
        after = timedelta(hours=1, seconds=1)
    elif ended_by == "set-up":
        set_up_account(domain, operator)
    else:
        operator.is_active = False
        operator.save()
    with clock.frozen(clock.now() + after), pytest.raises(UnauthenticatedError):
        links.open_link(word=word, address=ADDRESS)
    assert Browser().post(f"/sign-in/link/{word}").status_code == (302 if ended_by == "time" else 401)


@regression("A1", "a set-up under way when a newer link is created or its hour is over")
def test_a_set_up_under_way_ends_with_its_link(domain, operator):
    link = links.open_link(word=new_word(domain, operator), address=ADDRESS)
    links.choose_password(link=link, password=PASSWORD)
    secret = links.begin_second_factor(link=link)
    with clock.frozen(clock.now() + timedelta(hours=1, seconds=1)), pytest.raises(UnauthenticatedError):
        links.finish_set_up(link=link, code=now_code(secret), address=ADDRESS)
    new_word(domain, operator)
    with pytest.raises(UnauthenticatedError):
        links.finish_set_up(link=link, code=now_code(secret), address=ADDRESS)
    with pytest.raises(UnauthenticatedError):
        links.opened_link(link.pk)
    assert not operator.has_usable_password()


def test_a_recovery_keeps_the_old_factors_until_the_new_ones_are_proved(domain, operator):
    old = set_up_account(domain, operator)
    signed_in = Browser()
    signed_in.force_login(operator)
    link = links.open_link(word=new_word(domain, operator), address=ADDRESS)
    assert link.purpose == "recovery"
    links.choose_password(link=link, password="another good long password")
    secret = links.begin_second_factor(link=link)
    assert secret != old
    operator.refresh_from_db()
    assert operator.check_password(PASSWORD)
    with pytest.raises(InvalidError):
        links.finish_set_up(link=link, code=now_code(old), address=ADDRESS)
    links.finish_set_up(link=link, code=now_code(secret), address=ADDRESS)
    operator.refresh_from_db()
    assert operator.check_password("another good long password")
    assert signed_in.get("/devices").status_code == 302  # sessions of the old password have ended


@regression("A1", "recovery of somebody with a security role by one admin")
@pytest.mark.parametrize("role", ["admin", "security-officer", "release-officer"])
def test_a_recovery_of_a_security_role_needs_a_second_admin(domain, role):
    boss, second = person_with(domain, "boss", ["admin"]), person_with(domain, "second", ["admin"])
    officer = person_with(domain, "officer", [role])
    word = new_word(domain, officer, actor_for(boss, "console"))
    with pytest.raises(UnauthenticatedError, match="second admin"):
        links.open_link(word=word, address=ADDRESS)
    for refused in (boss, officer):
        with pytest.raises(DeniedError):
            links.approve_link(actor=actor_for(refused, "console"), operator=officer)
    links.approve_link(actor=actor_for(second, "console"), operator=officer)
    assert links.open_link(word=word, address=ADDRESS).approved_by == "second"
    with pytest.raises(ConflictError):
        links.approve_link(actor=actor_for(second, "console"), operator=officer)


def test_without_a_second_admin_only_the_servers_shell_recovers(domain):
    boss = person_with(domain, "boss", ["admin"])
    officer = person_with(domain, "officer", ["security-officer"])
    with pytest.raises(ConflictError, match="second admin"):
        new_word(domain, officer, actor_for(boss, "console"))
    assert links.open_link(word=new_word(domain, boss), address=ADDRESS).purpose == "recovery"
    waiting = new_word(domain, officer)  # the shell asks, and an admin could approve
    with pytest.raises(UnauthenticatedError, match="second admin"):
        links.open_link(word=waiting, address=ADDRESS)


@pytest.mark.parametrize("roles", [["operator"], ["security-officer", "release-officer"]])
def test_only_admins_who_signed_in_create_links(domain, operator, roles):
    with pytest.raises(DeniedError):
        links.create_link(actor=person(domain, *roles), operator=operator)
    boss = person_with(domain, "boss", ["admin"])
    with pytest.raises(DeniedError, match="API token"):
        links.create_link(actor=actor_for(boss, "api", token="a-token"), operator=operator)


def test_the_page_of_people_creates_a_link_and_approves_another(domain, operator):
    boss, second = person_with(domain, "boss", ["admin"]), person_with(domain, "second", ["admin"])
    officer = person_with(domain, "officer", ["release-officer"])
    client, other = Browser(), Browser()
    client.force_login(boss)
    other.force_login(second)
    made = client.post(f"/people/{officer.username}/link")
    assert made.status_code == 200
    assert "Approve recovery" in other.get("/people").content.decode()
    assert other.post(f"/people/{officer.username}/approve").status_code == 302
    path = made.context["url"].split("localhost", 1)[1]
    assert Browser().post(path).headers["Location"] == "/set-up/password"
    watcher = Browser()
    watcher.force_login(person_with(domain, "watcher", ["viewer"]))
    assert watcher.get("/people").status_code == 403


def test_weak_passwords_are_refused(domain, operator):
    link = links.open_link(word=new_word(domain, operator), address=ADDRESS)
    for password in ("short", "password1234"):
        with pytest.raises(InvalidError):
            links.choose_password(link=link, password=password)


def test_the_second_factor_is_not_readable_in_the_database(domain, operator):
    link = links.open_link(word=new_word(domain, operator), address=ADDRESS)
    secret = links.begin_second_factor(link=link)
    assert secret not in LoginLink.objects.get(pk=link.pk).new_totp_secret


@regression("A1", "a recovery link that is older than the security role which it would open")
@pytest.mark.parametrize("opened", [False, True])
def test_a_recovery_ends_when_a_security_role_is_granted(domain, operator, opened):
    set_up_account(domain, operator)
    boss = actor_for(person_with(domain, "boss", ["admin"]), "console")
    person_with(domain, "second", ["admin"])
    word = new_word(domain, operator, boss)
    link = links.open_link(word=word, address=ADDRESS) if opened else None
    people.grant_role(actor=boss, operator=operator, role="release-officer")
    with pytest.raises(UnauthenticatedError):
        links.opened_link(link.pk) if link else links.open_link(word=word, address=ADDRESS)
