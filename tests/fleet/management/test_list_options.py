"""Commands that list things, and the query language, ask what the filters of lists ask."""

import argparse

import pytest
from django.core.management import CommandError, call_command, load_command_class

from devices import query, selectors
from devices.models import EnrolmentRequest
from devices.selectors import DeviceFilter, EnrolmentRequestFilter
from ota.selectors.bundles import BundleFilter
from ota.selectors.device_list import FleetFilter
from ota.selectors.statements import StatementFilter
from pki.kernel.filters import Form, criteria_of
from tests.architecture.sources import ROOT

#: every command that lists what has a filter
LISTS = {("bundle", "list"): BundleFilter, ("enrolment", "list"): EnrolmentRequestFilter,
         ("release", "list"): StatementFilter}  # fmt: skip
#: fields of the list of devices that the query language has not, and why
NO_QUERY = {
    "q": "a part of the name: `name ~ part`",
    "query": "the query itself",
    "presence": "stands in the telemetry database, which no query joins",
    "updating": "stands in assignments, which only the package above knows",
}


def options_of(command, act):
    parser = load_command_class("fleet", command).create_parser("manage.py", command)
    acts = next(one for one in parser._actions if isinstance(one, argparse._SubParsersAction))
    return {one.dest: one for one in acts.choices[act]._actions if one.dest not in {"help", "json"}}


@pytest.mark.parametrize(("where", "shape"), LISTS.items())
def test_a_command_that_lists_has_the_fields_of_the_filter(where, shape):
    options = options_of(*where)
    assert set(options) == set(criteria_of(shape))
    for name, one in criteria_of(shape).items():
        assert options[name].help.startswith(one.says)
        assert tuple(options[name].choices or ()) == one.choices


def test_every_command_that_lists_filtered_things_is_compared():
    listing = {
        (path.stem, "list")
        for path in (ROOT / "fleet/management/commands").glob("*.py")
        if "add_filter_options(" in path.read_text()
    }
    assert listing == set(LISTS)


@pytest.mark.django_db(databases=["default", "telemetry"])
def test_the_option_narrows_the_list(fleet, capsys):
    fleet.workshop.bundle("9.0.0", 9)
    for option, expected in (("--release=none", ["9.0.0"]), ("--release=published", ["1.0.0"]), ("--q=9.0", ["9.0.0"])):
        call_command("bundle", "--domain", fleet.domain.slug, "list", option)
        lines = capsys.readouterr().out.splitlines()
        assert [version for version in ("1.0.0", "9.0.0") if any(version in line for line in lines)] == expected
    with pytest.raises(CommandError, match="firmware"):
        call_command("bundle", "list", "--kind=hardware")
    with pytest.raises(CommandError, match="the maximum is 100"):
        call_command("bundle", "--domain", fleet.domain.slug, "list", "--q=" + "x" * 101)
    assert EnrolmentRequest.State.values == list(criteria_of(EnrolmentRequestFilter)["state"].choices)


def test_a_field_of_the_list_means_the_same_in_the_query_language():
    asked = criteria_of(FleetFilter)
    assert set(NO_QUERY) <= set(asked)
    for name, one in asked.items():
        if name in NO_QUERY:
            assert name not in query.FIELDS
        elif one.form is Form.YES_NO:
            assert query.FURTHER[name][1] == one.says
        else:
            assert query.FIELDS[name].says == one.says


@pytest.mark.django_db(databases=["default", "telemetry"])
def test_a_field_of_the_list_finds_what_the_query_finds(fleet):
    from tests.factories.ground import system

    by = system(fleet.domain)
    for name, value in (("state", "active"), ("hardware", "node")):
        listed = selectors.list_devices(actor=by, wanted=DeviceFilter(**{name: value}))
        found = selectors.list_devices(actor=by, wanted=DeviceFilter(query=f"{name} = {value}"))
        assert list(listed) == list(found) != []


def test_the_documented_table_is_the_one_of_the_code():
    assert "\n".join(query.field_table()) in (ROOT / "docs/reference/query.md").read_text()
