"""Every kind of refusal has its status with every listener, and a problem document where people and programs ask."""

import pytest
from django.test import RequestFactory

from fleet.api import errors as api
from fleet.console.pages import page_view
from fleet.gateway import protocol
from fleet.refusals import KINDS, STATUS, TITLES
from pki.kernel.actor import Role
from pki.kernel.errors import DomainError, ErrorKind
from tests.factories.people import person_with

pytestmark = pytest.mark.django_db


def family(error=DomainError):
    """Return an error and all that are derived from it."""
    return {error}.union(*(family(one) for one in error.__subclasses__()))


def test_every_error_has_a_kind_of_the_registry_and_every_listener_has_a_status_for_it():
    assert {type(error.kind) for error in family()} == {ErrorKind}
    assert set(STATUS) == set(protocol.BY_KIND) == set(ErrorKind)
    assert set(TITLES) >= {*STATUS.values(), *KINDS}


@pytest.mark.parametrize("error", sorted(family(), key=lambda one: one.__name__), ids=lambda one: one.__name__)
def test_no_kind_ends_as_a_status_that_the_table_does_not_have(error, client):
    refusal = error.__new__(error)
    DomainError.__init__(refusal, "Not so.")  # some have arguments of their own

    def refuse(_request):
        raise refusal

    request = RequestFactory().get("/")
    request.user = None
    assert page_view(refuse)(request).status_code == STATUS[error.kind]
    answer = api.handle_error(refusal, {})
    assert (answer.status_code, answer.data["type"]) == (STATUS[error.kind], f"urn:muster:problem:{error.kind}")


@pytest.mark.parametrize("path", ["/api/", "/api/v1/", "/api/v1/nothing", "/api/v1/devices/", "/api/v2/devices"])
@pytest.mark.parametrize("method", ["get", "post", "delete", "patch"])
def test_a_path_of_the_api_that_is_no_resource_is_answered_with_a_problem(client, path, method):
    answer = getattr(client, method)(path, secure=True)
    assert answer.status_code == 404
    assert answer["Content-Type"] == "application/problem+json"
    assert answer.json()["type"] == "urn:muster:problem:not-found"


def test_what_the_framework_refuses_is_of_the_same_registry(client, domain):
    client.force_login(person_with(domain, "olga", [Role.OPERATOR]))
    answer = client.delete("/api/v1/devices", secure=True)
    assert (answer.status_code, answer.json()["type"]) == (405, "urn:muster:problem:method-not-allowed")
    assert "GET" in answer["Allow"]
