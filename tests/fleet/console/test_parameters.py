"""Pages refuse query parameters that they do not have, as the lists of the REST API do."""

import pytest
from django.urls import reverse

from fleet.console import urls
from tests.factories.people import signed_in
from tests.regressions import regression

pytestmark = pytest.mark.django_db(databases=["default", "telemetry"])
#: pages before somebody is signed in, to which other sites and mails link, and the stream that no person opens
APART = {"sign-in", "link", "set-up-password", "set-up-totp", "sign-out", "rollout-events"}
VERBS = {"device-act": "retire", "approval-decide": "approve", "bundle-step": "prepare", "rollout-step": "start"}


@pytest.fixture
def addresses(fleet):
    """Return the addresses of all pages, by name."""
    keys = {
        "device": fleet.devices[-1].public_id,
        "rollout": fleet.rollouts[-1].public_id,
        "bundle": fleet.bundles[-1].public_id,
        "incident": fleet.incident.public_id,
    }
    found = {}
    for one in urls.urlpatterns:
        needed = one.pattern.converters or one.pattern.regex.groupindex
        words = {"public_id": keys.get(one.name.partition("-")[0], fleet.incident.public_id), "username": "olga"}
        words["verb"] = VERBS.get(one.name, "")
        if one.name not in APART:
            found[one.name] = reverse(f"console:{one.name}", kwargs={name: words[name] for name in needed})
    return found


@regression("B7", "a parameter with a spelling mistake, on each page of the console")
def test_every_page_refuses_a_parameter_that_it_does_not_have(addresses, domain):
    client = signed_in(domain, "olga", ["admin", "operator", "security-officer", "release-officer"])
    plain = {name: client.get(address, secure=True).status_code for name, address in addresses.items()}
    assert set(plain.values()) == {200, 405}
    pages = [name for name, status in plain.items() if status == 200]
    assert {"overview", "tokens", "authorities", "rollout-plan", "device", "bundle-contents", "people"} <= set(pages)
    wrong = {}
    for name in pages:
        answer = client.get(f"{addresses[name]}?querry=x", secure=True)
        if answer.status_code != 422 or b"Unknown parameter" not in answer.content:
            wrong[name] = answer.status_code
    assert wrong == {}


@regression("B7", "a page number that is none, and a rollout beside the one in the address")
def test_values_that_a_page_would_have_to_ignore_are_refused(addresses, client, fleet):
    for address in (
        f"{addresses['bundle-contents']}?page=abc",
        f"{addresses['bundle-contents']}?page=0",
        f"{addresses['rollout-devices']}?rollout={fleet.rollouts[0].public_id}",
        f"{addresses['tokens']}?after=a&after=b",
    ):
        assert client.get(address, secure=True).status_code == 422, address
    assert client.get(f"{addresses['bundle-contents']}?q=&page=", secure=True).status_code == 200
    assert client.get(f"{addresses['rollout-plan']}?release=", secure=True).status_code == 200
