"""The one query language: what it finds, on both databases, and what it refuses and how."""

import pytest
from django.db.models import Q
from hypothesis import given
from hypothesis import strategies as st

from devices import query, selectors
from devices.models import Device
from devices.services import groups as services
from devices.services import quarantine, registry, twins
from pki.kernel.errors import DeniedError, InvalidError
from pki.models import LedgerEntry
from tests.devices.test_behaviour import own
from tests.factories.ground import person, system

pytestmark = pytest.mark.django_db


@pytest.fixture
def fleet(domain, enrol):
    """Return five devices with sites, tags, a gateway and versions."""
    by = person(domain, "operator")
    made = {name: enrol(name) for name in ("cam-1", "cam-2", "gate", "soil-1", "soil-2")}
    facts = {
        "cam-1": {"site": "Hall 3", "tags": ["pilot", "line:a"], "gateway": "gate"},
        "cam-2": {"site": "Hall 3", "tags": ["canary"], "gateway": "gate"},
        "gate": {"site": "Hall 3", "owner": 'Anna "the boss"'},
        "soil-1": {"site": "field", "tags": ["pilot"]},
        "soil-2": {"site": "field"},
    }
    for number, (name, one) in enumerate(made.items()):
        registry.describe_device(actor=by, device=one.device, **facts[name])
        part = {"version": f"1.{number % 2}.0", "sha256": "a" * 64, "counter": 1, "confirmed": True}
        twins.store_report(
            actor=own(domain, one), device=one.device, sequence=1, components={"app": part, "model.wake": part}
        )
    quarantine.quarantine_device(actor=system(domain), device=made["soil-2"].device, reason="odd")
    return domain


def found(domain, text):
    return sorted(
        selectors.list_devices(actor=system(domain), wanted=selectors.DeviceFilter(query=text)).values_list(
            "name", flat=True
        )
    )


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", "cam-1 cam-2 gate soil-1 soil-2"),
        ("name = cam-1", "cam-1"),
        ("name ~ CAM", "cam-1 cam-2"),
        ("name in (cam-1, soil-1)", "cam-1 soil-1"),
        ("name != gate and not name ~ cam", "soil-1 soil-2"),
        ('site = "Hall 3" and not (tag = pilot or tag = canary)', "gate"),
        ("tag = pilot", "cam-1 soil-1"),
        ("tag != pilot", "cam-2 gate soil-2"),
        ("tag in (canary, line:a)", "cam-1 cam-2"),
        ("tag = pil", ""),
        ("quarantined", "soil-2"),
        ("not quarantined and site = field", "soil-1"),
        ("gateway = gate", "cam-1 cam-2"),
        ("runs.app = 1.1.0", "cam-2 soil-1"),
        ("runs.app != 1.1.0", "cam-1 gate soil-2"),
        ("runs.model.wake = 1.0.0 and name ~ soil", "soil-2"),
        ("state = active and enrolled >= 2020-01-01", "cam-1 cam-2 gate soil-1 soil-2"),
        ("enrolled < 2020-01-01", ""),
        ('owner = "Anna \\"the boss\\""', "gate"),
        ("name = cam-1 or name = gate and site = field", "cam-1"),
        ("(name = cam-1 or name = gate) and site = field", ""),
        ("NOT name ~ o AND name ~ c", "cam-1 cam-2"),
    ],
)
def test_it_finds_what_it_says(fleet, text, names):
    assert found(fleet, text) == names.split()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("colour = red", "is not a field"),
        ("name", "one of"),
        ("name =", "value is missing"),
        ("name = and", "value is missing"),
        ("name = a b", "`and` or `or` is missing"),
        ("name < a", "one of"),
        ("state = asleep", "`state` must be one of"),
        ("enrolled > yesterday", "is not a date"),
        ("enrolled > 2026-13-45", "is not a date"),
        ('name = "a\0b"', "a NUL"),
        ("tag = UPPER", "is not a tag"),
        ('tag = "a\\"%"', "is not a tag"),
        ("name in (a, b", "is missing"),
        ("(name = a", "is missing"),
        ("name = a)", "is missing"),
        ('name = "a', "has a syntax error"),
        ("not " * 20 + "quarantined", "nested deeper"),
        (" or ".join(["quarantined"] * 51), "more than 50"),
        ("x" * 1001, "the maximum is 1000"),
        ("runs.app__regex = x", "is not a field"),
        ("runs.app < 1", "must be followed by = or !="),
        ("domain = other", "is not a field"),
        ("pk = 1", "is not a field"),
    ],
)
def test_what_is_no_query_is_refused_with_advice(text, said):
    with pytest.raises(InvalidError, match=said):
        query.parse_query(text, Q())


@pytest.fixture
def groups(fleet):
    """Return a domain with a listed group of one device, and a group by query."""
    by = person(fleet, "operator")
    pilots = services.create(actor=by, name="pilots")
    services.change_members(actor=by, group=pilots, add=[selectors.device_by_name(actor=by, name="cam-1")])
    services.create(actor=by, name="cams", query_text="name ~ cam")
    return fleet


@pytest.mark.parametrize(
    ("test", "said"),
    [
        ("group = pilot", "no group 'pilot'. Known: pilots."),
        ("group != pilot", "no group 'pilot'"),
        ("group in (pilots, pilot)", "no group 'pilot'"),
        ("group = cams", r"'cams' selects its devices by a query. Write that query instead of the group: \(name ~ cam"),
        ("audience = prod", "`audience` must be one of: lab, canary, production"),
        ("audience != prod", "`audience` must be one of"),
        ("hardware = vib-nod", "no hardware model 'vib-nod'. Known: "),
        ("hardware != vib-nod", "no hardware model"),
        ("gateway = gat", "no device 'gat'"),
        ("gateway in (gate, gat)", "no device 'gat'"),
    ],
)
@pytest.mark.parametrize("form", ["{}", "not {}", "not (name = cam-1 and {})"])
def test_an_unknown_name_is_refused_because_its_negation_is_every_device(groups, test, said, form):
    with pytest.raises(InvalidError, match=said):
        found(groups, form.format(test))
    with pytest.raises(InvalidError, match=said):
        services.create(actor=person(groups, "operator"), name="x", query_text=form.format(test))


def test_names_of_another_domain_are_unknown(groups, other_domain):
    assert found(groups, "not group = pilots") == ["cam-2", "gate", "soil-1", "soil-2"]
    for text in ("not group = pilots", "gateway != gate"):
        with pytest.raises(InvalidError, match="There is no"):
            found(other_domain, text)


def test_a_group_whose_query_names_what_was_deleted_selects_nobody(groups):
    by = person(groups, "operator")
    services.create(actor=by, name="rest", query_text="not group = pilots")
    wanted = selectors.DeviceFilter(group="rest")
    assert selectors.list_devices(actor=by, wanted=wanted).count() == 4
    services.delete(actor=by, group=selectors.list_groups(actor=by).get(name="pilots"))
    with pytest.raises(InvalidError, match=r"'rest' selects no devices, .* There is no group 'pilots'"):
        selectors.list_devices(actor=by, wanted=wanted)


def test_a_query_never_looks_beyond_its_domain(fleet, other_domain):
    assert found(other_domain, "name ~ a or not name ~ a") == []


@given(st.text(st.sampled_from('nameti =!~<>()",\\ \nandorSIX1-.%'), max_size=60))
def test_any_text_is_a_query_or_a_refusal(text):
    try:
        str(Device.objects.filter(query.parse_query(text, Q())).query)
    except InvalidError:
        return


def test_what_people_say_of_a_device_is_checked_and_the_ledger_names_fields_only(domain, enrol):
    one, by = enrol("a"), person(domain, "operator")
    registry.describe_device(actor=by, device=one.device, owner="Anna", tags=["b", "a", "b"])
    one.device.refresh_from_db()
    assert (one.device.owner, one.device.tags, one.device.site) == ("Anna", ["a", "b"], "")
    assert LedgerEntry.objects.get(domain=domain, action="device.described").detail == {"fields": ["owner", "tags"]}
    for wrong in ({"tags": ["A b"]}, {"tags": ["x"] * 33}, {"site": "x" * 101}, {"owner": "a\nb"}, {"gateway": "none"}):
        with pytest.raises(InvalidError):
            registry.describe_device(actor=by, device=one.device, **wrong)
    with pytest.raises(DeniedError):
        registry.describe_device(actor=person(domain, "viewer"), device=one.device, site="x")


def test_no_device_stands_behind_itself(domain, enrol):
    by, made = person(domain, "operator"), [enrol(name) for name in ("a", "b", "c")]
    registry.describe_device(actor=by, device=made[1].device, gateway="a")
    registry.describe_device(actor=by, device=made[2].device, gateway="b")
    for name in ("a", "b", "c"):
        with pytest.raises(InvalidError, match="its own gateway"):
            registry.describe_device(actor=by, device=made[0].device, gateway=name)
    registry.describe_device(actor=by, device=made[1].device, gateway="")
    registry.describe_device(actor=by, device=made[0].device, gateway="c")
