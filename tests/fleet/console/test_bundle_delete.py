"""Delete a bundle that was never published, by the console, the REST API and the command."""

import pytest
from django.core.management import call_command

from ota.models import Bundle
from tests.factories.people import signed_in
from tests.regressions import regression

pytestmark = pytest.mark.django_db


def by_console(client, bundle):
    page = client.get(f"/bundles/{bundle.public_id}", secure=True).content.decode()
    assert "Delete bundle" in page
    address = f"/bundles/{bundle.public_id}/delete"
    assert client.post(address, {"name": "another"}, secure=True).status_code == 422
    assert Bundle.objects.filter(pk=bundle.pk).exists()
    assert client.post(address, {"name": bundle.name}, secure=True)["location"] == "/bundles"


def by_rest(client, bundle):
    assert client.delete(f"/api/v1/bundles/{bundle.public_id}", secure=True).status_code == 204


def by_command(client, bundle):
    call_command("bundle", "--domain", client.operator.domain.slug, "delete", str(bundle.public_id))


@regression("C9", "an unreleased bundle, deleted on all three ways")
@pytest.mark.parametrize("way", [by_console, by_rest, by_command])
def test_an_unreleased_bundle_is_deleted(client, published, way):
    bundle = published.bundle("1.0.0", 9000)
    way(client, bundle)
    assert not Bundle.objects.filter(pk=bundle.pk).exists()


def test_a_published_one_has_no_such_form_and_is_refused(client, published):
    bundle = published.release(published.bundle()).bundle
    assert "Delete bundle" not in client.get(f"/bundles/{bundle.public_id}", secure=True).content.decode()
    assert client.delete(f"/api/v1/bundles/{bundle.public_id}", secure=True).status_code == 409
    answer = client.post(f"/bundles/{bundle.public_id}/delete", {"name": bundle.name}, secure=True)
    assert answer["location"] == f"/bundles/{bundle.public_id}"
    assert Bundle.objects.filter(pk=bundle.pk).exists()


@regression("C9", "a viewer, who may delete nothing, on the page of an unreleased bundle")
def test_a_viewer_is_offered_no_deletion(domain, published):
    bundle = published.bundle("1.0.0", 9000)
    page = signed_in(domain, "vera", ["viewer"]).get(f"/bundles/{bundle.public_id}", secure=True)
    assert "Delete bundle" not in page.content.decode()
