"""Whose request it is, asked before its body is taken in."""

import pytest

from fleet.operators.credentials import person_of_credentials
from fleet.operators.models import Operator
from fleet.operators.services import tokens
from tests.factories.ground import system
from tests.factories.people import signed_in
from tests.regressions import regression

pytestmark = pytest.mark.django_db


@regression("R9", "credentials that are looked at before a long body is taken in")
def test_a_good_token_or_session_names_its_person_and_nothing_else_does(domain, monkeypatch):
    # Django would close the connection, and with it the transaction that this test runs in.
    monkeypatch.setattr("fleet.operators.credentials.close_old_connections", lambda: None)
    browser = signed_in(domain, "anna", ["operator"])
    key = browser.cookies["__Host-muster-session"].value
    operator = Operator.objects.get(username="anna")
    _, secret = tokens.create(actor=system(domain), operator=operator, name="t", days=1)
    cookie = f"a=b; __Host-muster-session={key}; c=d"
    assert person_of_credentials("", cookie) == "anna"
    assert person_of_credentials(f"Bearer {secret}", "") == "anna"
    for authorization, field in [
        ("", ""), ("Bearer", ""), ("Bearer x", ""), (f"Basic {secret}", ""), ("", "__Host-muster-session="),
        ("", f"__Host-muster-session={key}x"), ("", f"other={key}"), ("Bearer \xff\0", "\xff\0=;;"),
    ]:  # fmt: skip
        assert person_of_credentials(authorization, field) == "", (authorization, field)
    Operator.objects.filter(pk=operator.pk).update(is_active=False)
    assert person_of_credentials("", cookie) == ""
    assert person_of_credentials(f"Bearer {secret}", "") == ""
