"""Certificates that end soon come in the order of their ends, page by page, on the console and in the API."""

import re
from datetime import timedelta
from itertools import pairwise

import pytest
from django.urls import reverse

from devices import selectors as devices
from fleet.console import trust
from fleet.operators.services import tokens
from pki.kernel import clock
from pki.models import Authority, Certificate
from tests.factories.ground import system
from tests.factories.people import Browser, person_with, signed_in

pytestmark = pytest.mark.django_db
MANY = 130


@pytest.fixture
def console(domain):
    """Return the client of somebody who may look."""
    return signed_in(domain, "vic", ["viewer"])


@pytest.fixture
def api(domain):
    """Return the client of a program."""
    operator = person_with(domain, "pia", ["viewer"])
    _, secret = tokens.create(actor=system(domain), operator=operator, name="lists")
    return Browser(authorization=f"Bearer {secret}")


@pytest.fixture
def ending(domain):
    """Make certificates that end on other days than they were made in the order of; three at a time end together."""
    authority = Authority.objects.filter(domain=domain, kind="issuing").first()
    now = clock.now()
    Certificate.objects.bulk_create(
        Certificate(
            domain=domain, authority=authority, serial=f"{number:x}", fingerprint=f"{number:064x}", subject_urn="urn:x",
            subject_key=f"{number}", spki_sha256=f"{number:064x}", profile="device", der=b"x", not_before=now,
            not_after=now + timedelta(days=1 + number * 7 % MANY // 3),
        )
        for number in range(1, MANY + 1)
    )  # fmt: skip
    rows = devices.list_device_certificates(actor=system(domain), wanted=devices.CertificateFilter(expiring="90"))
    return [one.fingerprint for one in rows]


def test_expiring_certificates_come_by_their_end(ending):
    ends = dict(Certificate.objects.values_list("fingerprint", "not_after"))
    assert len(ending) == MANY
    assert all(ends[one] <= ends[other] for one, other in pairwise(ending))


def test_pages_of_the_api_show_each_once(ending, api):
    seen, address = [], "/api/v1/certificates?expiring=90"
    while address:
        body = api.get(address).json()
        seen += [one["fingerprint"] for one in body["results"]]
        address = body["next"]
    assert seen == ending


@pytest.mark.parametrize("cursor", ["x", "1.2", "0", "-1", "9" * 36])
def test_a_cursor_that_no_page_gave_is_refused(ending, api, cursor):
    assert api.get(f"/api/v1/certificates?expiring=90&cursor={cursor}").status_code == 422
    assert api.get(f"/api/v1/certificates?cursor={cursor}").status_code == 422


@pytest.mark.parametrize("cursor", ["1", "17", "9" * 18, "1" + "0" * 18, "9" * 35])
def test_a_cursor_of_another_list_begins_somewhere_and_breaks_nothing(ending, api, cursor):
    for address in (f"/api/v1/certificates?expiring=90&cursor={cursor}", f"/api/v1/certificates?cursor={cursor}"):
        assert api.get(address).status_code == 200


def test_pages_of_the_console_show_each_once_and_lead_back(ending, console):
    path = reverse("console:certificates")
    pages = [console.get(f"{path}?expiring=90", secure=True)]
    while found := re.search(r'href="(\?[^"]*\bafter=[^"]*)"', pages[-1].content.decode()):
        pages.append(console.get(path + found[1].replace("&amp;", "&"), secure=True))
    assert [row[0].fingerprint for one in pages for row in one.context["rows"]] == ending
    back = re.search(r'href="(\?[^"]*\bbefore=[^"]*)"', pages[1].content.decode())[1]
    first = console.get(path + back.replace("&amp;", "&"), secure=True)
    assert [row[0].fingerprint for row in first.context["rows"]] == ending[:50]


def test_the_authorities_count_what_ends_soon_and_stop_at_many(ending, console, monkeypatch):
    terms = console.get(reverse("console:authorities"), secure=True).context["terms"]
    assert terms[-1] == (90, MANY, False)
    assert all(number == MANY or days < 45 for days, number, _ in terms)
    monkeypatch.setattr(trust, "MOST_ENDING", 20)
    answer = console.get(reverse("console:authorities"), secure=True)
    assert answer.context["terms"][-1] == (90, 20, True)
    assert "<b>20+</b>" in answer.content.decode()
