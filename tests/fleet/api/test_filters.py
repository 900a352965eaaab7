"""Lists refuse what they do not know, and mean what they say."""

import json
import re
import uuid

import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext

from devices.selectors import DeviceFilter
from pki.kernel.actor import Role
from pki.kernel.errors import InvalidError
from pki.kernel.filters import Form, criteria_of, parse_filter
from tests.architecture.sources import ROOT
from tests.factories.people import person_with
from tests.regressions import regression

pytestmark = pytest.mark.django_db(databases=["default", "telemetry"])
DOCUMENT = json.loads((ROOT / "docs/reference/openapi.json").read_text())
PAGE = {"limit", "cursor", "count"}
LISTS = sorted(
    path for path, operations in DOCUMENT["paths"].items()
    if {one["name"] for one in operations.get("get", {}).get("parameters", ())} >= PAGE and "{" not in path
)  # fmt: skip
MOST_QUERIES = 15


@pytest.fixture
def ask(client, fleet):
    """Ask as an operator who is signed in."""
    client.force_login(person_with(fleet.domain, "olga", list(Role)))

    def get(path, **query):
        return client.get(path, query, secure=True)

    return get


def parameters(path):
    return {one["name"]: one["schema"] for one in DOCUMENT["paths"][path]["get"]["parameters"]}


def test_there_are_many_lists():
    assert len(LISTS) >= 20
    assert {"/api/v1/devices", "/api/v1/certificates", "/api/v1/rollouts", "/api/v1/ledger"} <= set(LISTS)


@regression("B7", "a parameter with a spelling mistake, on each list of the API")
@pytest.mark.parametrize("path", LISTS)
def test_an_unknown_parameter_is_refused_with_those_that_there_are(ask, path):
    answer = ask(path, querry="x")
    assert answer.status_code == 422
    said = answer.json()["detail"]
    assert "'querry'" in said
    assert all(name in said for name in parameters(path))


@regression("B7", "values of choices that do not exist, on each list of the API")
@pytest.mark.parametrize("path", LISTS)
def test_a_value_that_cannot_be_meant_is_refused_with_those_that_can(ask, path):
    for name, schema in parameters(path).items():
        if choices := schema.get("enum"):
            answer = ask(path, **{name: "foo"})
            assert answer.status_code == 422, name
            assert all(choice in answer.json()["detail"] for choice in choices), name
        elif schema.get("type") == "integer":
            assert ask(path, **{name: "0"}).status_code == 422, name


@regression("B7", "a parameter that is given twice")
@pytest.mark.parametrize("path", LISTS)
def test_a_parameter_that_is_given_twice_is_refused(ask, path):
    for name in parameters(path):
        assert ask(path, **{name: ["1", "1"]}).status_code == 422, name


@regression("B7", "filters that name a device that does not exist")
@pytest.mark.parametrize("path", ["incidents", "assignments", "commands", "certificates"])
def test_a_device_is_named_by_name_or_public_id_everywhere(ask, fleet, path):
    device = fleet.enrolled[0].device
    by_name, by_id = ask(f"/api/v1/{path}", device=device.name), ask(f"/api/v1/{path}", device=device.key)
    assert by_name.status_code == by_id.status_code == 200
    assert by_name.json() == by_id.json()
    answer = ask(f"/api/v1/{path}", device="nobody-here")
    assert (answer.status_code, "nobody-here" in answer.json()["detail"]) == (422, True)


@regression("B7", "the same mistakes in addresses of the console")
@pytest.mark.parametrize(
    "address",
    ["/devices?querry=x", "/devices?state=foo", "/rollouts?state=foo", "/incidents?device=nobody", "/ledger?actor=x",
     "/bundles?kind=x", "/certificates?expiring=0", "/approvals?state=x", "/devices?state=active&state=retired"],
)  # fmt: skip
def test_the_console_refuses_the_same(ask, address):
    answer = ask(address)
    assert answer.status_code == 422
    assert (
        b"parameter" in answer.content
        or b"one of" in answer.content
        or b"must be a whole number" in answer.content
        or b"There is no" in answer.content
    )


def test_an_empty_field_of_a_form_asks_for_nothing(ask):
    assert ask("/devices", state="", q="").status_code == 200


@regression("B7", "an empty value of each parameter, as from a variable that is not set, on each list of the API")
@pytest.mark.parametrize("path", LISTS)
def test_a_parameter_of_a_program_is_not_empty(ask, path):
    for name in parameters(path):
        answer = ask(path, **{name: ""})
        assert (answer.status_code, f"`{name}` is empty" in answer.json()["detail"]) == (422, True), name


def test_the_total_is_counted_when_it_is_asked_for(ask, fleet):
    assert "count" not in ask("/api/v1/devices").json()
    assert ask("/api/v1/devices", count="true", limit="1").json()["count"] == len(fleet.devices)
    assert ask("/api/v1/devices", count="maybe").status_code == 422


def test_pages_go_on_where_they_ended_while_rows_come_and_go(ask, fleet):
    fleet.grow(devices=6)
    first = ask("/api/v1/devices", limit="3").json()
    fleet.grow(devices=2)
    found = [one["id"] for one in first["results"]]
    following = first["next"]
    while following:
        page = ask(following).json()
        found += [one["id"] for one in page["results"]]
        following = page["next"]
    before = [str(one.public_id) for one in sorted(fleet.devices[:-2], key=lambda one: -one.pk)]
    assert found == before


@pytest.mark.parametrize("path", LISTS)
def test_a_list_asks_no_more_of_the_database_because_there_is_more_to_show(ask, fleet, path):
    few = _queries(ask, path)
    fleet.grow(devices=6)
    many = _queries(ask, path)
    assert many <= few <= MOST_QUERIES


def _queries(ask, path):
    counters = [CaptureQueriesContext(connections[name]) for name in ("default", "telemetry")]
    with counters[0], counters[1]:
        assert ask(path).status_code == 200
    return sum(len(one) for one in counters)


def test_a_device_says_when_it_was_heard_and_what_it_runs(ask, fleet):
    [shown] = ask("/api/v1/devices", q=fleet.devices[0].name, limit="1").json()["results"]
    assert (shown["presence"], shown["last_seen"], shown["owner"]) == ("never", None, "")
    assert all(set(one) == {"current", "target"} for one in shown["versions"].values())


def test_every_field_of_a_filter_says_what_it_means():
    for name, one in criteria_of(DeviceFilter).items():
        assert one.says.endswith("."), name
        assert one.source or one.form is Form.QUERY, name


def test_a_number_has_bounds_and_says_its_unit():
    from devices.selectors import CertificateFilter

    for value in ("0", "-1", "3661", "1e2", "²", " 5"):
        with pytest.raises(InvalidError, match="whole number of days from 1 to 3660"):
            parse_filter(CertificateFilter, {"expiring": [value]})
    assert parse_filter(CertificateFilter, {"expiring": ["30"]}).expiring == "30"


OPERATIONS = sorted(
    (method, path) for path, operations in DOCUMENT["paths"].items() for method in operations
)  # fmt: skip


def _declared(method, path):
    return {one["name"] for one in DOCUMENT["paths"][path][method].get("parameters", ()) if one["in"] == "query"}


@regression("B7", "a parameter with a spelling mistake, on each operation of the API by each method")
def test_every_operation_refuses_a_parameter_that_it_does_not_have(client, domain):
    client.force_login(person_with(domain, "olga", list(Role)))
    wrong = []
    for method, path in OPERATIONS:
        address = re.sub(r"\{\w+\}", _part, path)
        answer = client.generic(method.upper(), f"{address}?querry=x", "{}", "application/json", secure=True)
        said = answer.json()["detail"].removesuffix(".")
        begin, _, named = said.partition(". Parameters: ")
        allowed = _declared(method, path) or {"none"}
        if (answer.status_code, begin, set(named.split(", "))) != (422, "Unknown parameter 'querry'", allowed):
            wrong.append((method, path, answer.status_code, said))
    assert wrong == []


def _part(place):
    """Return something that an address may hold at a place; a parameter is refused before anything is looked up."""
    return {"{fingerprint}": "0" * 64, "{key_id}": "0" * 40, "{old}": "1"}.get(place[0], str(uuid.UUID(int=1)))


@regression("B7", "a parameter of the address of the OpenAPI document")
def test_the_document_takes_no_parameter(ask):
    assert ask("/api/v1/openapi.json").status_code == 200
    assert ask("/api/v1/openapi.json", lang="de").status_code == 422


@regression("B7", "numbers beyond the bounds of a parameter that sets how much is answered")
def test_a_setting_has_bounds_and_a_usual_value(ask, fleet):
    where = f"/api/v1/devices/{fleet.devices[0].public_id}"
    for ticks in ("0", "337", "x", "-1"):
        assert "from 1 to 336" in ask(f"{where}/behaviour", ticks=ticks).json()["detail"]
    assert ask(f"{where}/behaviour", ticks="24").json() == ask(f"{where}/behaviour").json()
    assert "`metric` is required" in ask(f"{where}/telemetry").json()["detail"]
    assert "must match" in ask(f"{where}/telemetry", metric="Temp C").json()["detail"]
    assert ask(f"{where}/telemetry", metric="temp_c", since="0").json() == {"metric": "temp_c", "values": []}


@pytest.mark.parametrize("path", ["/api/v1/devices", "/api/v1/incidents"])
def test_a_list_reads_no_document_that_it_does_not_show(ask, path):
    with CaptureQueriesContext(connections["default"]) as asked:
        assert ask(path, limit=500).json()["results"]
    read = " ".join(one["sql"] for one in asked)
    assert [name for name in ("telemetry", "runtime", "config_version") if f'"{name}"' in read] == []
