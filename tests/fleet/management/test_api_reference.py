"""The reference of the REST API is generated from the OpenAPI document and shown under Help."""

import json
import re

import pytest

from fleet.api.examples import operations_of
from fleet.management.commands.api_reference import DOCUMENT, FRAGMENT, MARKDOWN
from fleet.management.reference.pages import KINDS, html_fragment, markdown_page
from fleet.refusals import STATUS
from tests.factories.people import signed_in

READ = json.loads(DOCUMENT.read_text())
ADVICE = "run: manage.py api_reference"


def test_both_pages_are_up_to_date():
    assert MARKDOWN.read_text() == markdown_page(READ), ADVICE
    assert FRAGMENT.read_text() == html_fragment(READ), ADVICE


def test_every_operation_stands_on_the_page_with_what_a_caller_needs():
    sections = re.split(r"^### ", MARKDOWN.read_text(), flags=re.MULTILINE)[1:]
    by_name = {section.partition("\n")[0]: section for section in sections}
    assert len(by_name) == len(sections)
    for path, method, operation in operations_of(READ):
        section = by_name.pop(f"{method.upper()} {path}")
        assert "Roles: " in section
        assert "\ncurl " in section
        assert "Errors: 400, 401" in section
        assert all(f"| `{one['name']}` | {one['in']} | " in section for one in operation.get("parameters", ()))
        assert ("Body: " in section) == ("requestBody" in operation)
    assert by_name == {}


def test_every_refusal_of_the_document_is_explained():
    documented = {int(code) for _, _, one in operations_of(READ) for code in one["responses"] if int(code) >= 400}
    assert documented - {STATUS[kind] for kind in KINDS} == {400}  # a body that cannot be read: told with 422


@pytest.mark.django_db(databases=["default", "telemetry"])
def test_help_shows_it_to_everybody_who_is_signed_in(domain, client):
    viewer = signed_in(domain, "vera", ["viewer"])
    page = viewer.get("/help/api", secure=True)
    assert page.status_code == 200
    shown = page.content.decode()
    for path, method, _ in operations_of(READ):
        assert f'<span class="mu-method">{method.upper()}</span> {path}</a>' in shown
    assert "verbatim" not in shown
    assert 'href="/help/api"' in viewer.get("/help", secure=True).content.decode()
    assert viewer.get("/help/api?x=1", secure=True).status_code == 422
    assert client.get("/help/api", secure=True).status_code in {302, 401}
