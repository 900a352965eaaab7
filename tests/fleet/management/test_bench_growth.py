"""The benchmark of growth asks every route, of a set-up that holds some of everything; here on a small one, untimed."""

import sqlite3
import sys
from collections import Counter

import pytest
from django.core.management import CommandError, call_command
from django.test import RequestFactory
from django.urls import path

from fleet import health
from fleet.console import urls as console
from fleet.management.benches import growth, growth_processes, growth_routes, growth_rows

FEW, SOME = 10, 300


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """Fill a set-up twice and ask it everything each time; check its audit log."""
    keep = tmp_path_factory.mktemp("growth")
    with growth.filled_installation("sqlite", FEW, keep) as made:
        few = growth.run_inner(made, "answers", "1")
        assert growth.run_inner(made, "fill", str(SOME))["added"] == SOME - FEW
        return {
            "answers": {FEW: few, SOME: growth.run_inner(made, "answers", "1")},
            "verify": growth_processes.measure_verify(made),
            "folder": made.folder,
        }


def named(answers):
    return {one["name"] for one in answers}


def test_every_route_answers_at_both_sizes(seen):
    for answers in seen["answers"].values():
        assert {one["name"]: one["status"] for one in answers if one["status"] != 200} == {}
    # A short list has no next page.
    gone = named(seen["answers"][FEW]) ^ named(seen["answers"][SOME])
    assert {name for name in gone if not name.endswith("(next page)")} == set()


def test_every_get_of_the_api_document_is_asked(seen, client):
    from drf_spectacular.generators import SchemaGenerator

    paths = SchemaGenerator().get_schema(request=None, public=True)["paths"]
    documented = {name.replace("{", "<").replace("}", ">") for name, methods in paths.items() if "get" in methods}
    assert len(documented) > 30
    assert documented - {name.partition("?")[0] for name in named(seen["answers"][SOME])} == set()


def test_a_console_route_that_is_not_asked_refuses_get(seen):
    asked = named(seen["answers"][SOME]) | set(growth_routes.EXEMPT)
    refused = {}
    for one in console.urlpatterns:
        name = growth_routes.named_route(f"/{one.pattern}".replace("/^", "/").removesuffix("$"))
        if name not in asked:
            places = dict.fromkeys(one.pattern.regex.groupindex, "some")
            refused[name] = one.callback(RequestFactory().get("/"), **places).status_code
    assert refused
    assert set(refused.values()) == {405}


def test_the_audit_log_of_a_filled_set_up_verifies(seen):
    said = seen["verify"]["said"]
    assert seen["verify"]["ok"], said
    assert int(said.split()[0].replace(",", "")) > 6 * SOME


def test_a_filled_set_up_holds_some_of_everything(seen):
    with sqlite3.connect(seen["folder"] / "db" / "main.sqlite3") as main:
        states = dict(main.execute("SELECT state, count(*) FROM devices_device GROUP BY 1"))
        ended = Counter(row[0] for row in main.execute("SELECT status FROM ota_assignment"))
        incidents = dict(main.execute("SELECT state, count(*) FROM devices_incident GROUP BY 1"))
        held = main.execute("SELECT count(*) FROM devices_device WHERE quarantined_at IS NOT NULL").fetchone()
        (certificates,) = main.execute("SELECT count(*) FROM pki_certificate WHERE profile = 'device'").fetchone()
    with sqlite3.connect(seen["folder"] / "db" / "telemetry.sqlite3") as telemetry:
        (heard,) = telemetry.execute("SELECT count(*) FROM devices_presence").fetchone()
    assert (states["retired"], states["suspended"], states["pending"]) == (3, 2, 2)
    assert ended["finished"] > 4.8 * SOME
    assert ended.total() == 5 * SOME
    assert (incidents, held) == ({"open": 1, "closed": 1}, (1,))
    assert certificates == SOME * 6 // 5 + 1
    assert 0.9 * SOME < heard < SOME


class Unknown:
    """URL patterns with a route whose address nobody has an example for."""

    urlpatterns = [path("things/<str:public_id>", health.healthz)]


def test_a_route_without_an_example_is_an_error(domain, settings, monkeypatch):
    monkeypatch.setitem(sys.modules, "unknown_urls", Unknown)
    settings.ROOT_URLCONF = "unknown_urls"
    with pytest.raises(growth_routes.UnknownExampleError, match="/things/<public_id>"):
        list(growth_routes.list_routes(domain))


def answer(ms, queries=3, status=200):
    return {"name": "/devices", "status": status, "ms": ms, "queries": queries, "bytes": 1}


@pytest.mark.parametrize(
    ("least", "small", "large", "missed"),
    [
        (answer(10), answer(100), answer(149), []),
        (answer(10), answer(120), answer(151), ["cpu"]),
        (answer(10), answer(20), answer(31), ["ratio"]),
        (answer(1), answer(1), answer(4.9), []),
        (answer(10, 16), answer(10), answer(10), ["queries"]),
        (answer(10), answer(10), answer(10, 16), ["queries"]),
        (answer(10), answer(10), answer(10, status=500), ["answers"]),
    ],
)
def test_a_route_is_held_to_cost_growth_queries_and_status(least, small, large, missed):
    rows = growth_rows.answer_rows("sqlite", {10: [least], 10_000: [small], 300_000: [large]})
    (route,) = [row for row in rows if row["name"] == "sqlite: /devices"]
    assert (route["missed"], route["met"]) == (missed, not missed)
    totals = {row["name"]: row["value"] for row in rows if row["unit"] == "routes"}
    assert sum(totals.values()) == len(missed)


def test_a_size_at_which_nothing_could_be_measured_meets_no_goal():
    rows = growth_rows.answer_rows("sqlite", {10: [answer(10)], 10_000: [answer(10)], 300_000: []})
    (route,) = [row for row in rows if row["name"] == "sqlite: /devices"]
    assert route["missed"] == ["answers"]


def test_a_set_up_that_cannot_be_made_is_a_row_and_no_end_of_the_benchmark(tmp_path):
    (tmp_path / "sqlite-3").write_text("a file where the set-up would lie")
    seen = growth.measure_set_up("sqlite", 3, tmp_path, processes=True)
    (row,) = growth_rows.process_rows("sqlite", 3, seen)
    assert (row["name"], row["met"]) == ("sqlite: set-up could not be measured", False)
    assert "FileExistsError" in row["against"]


def test_the_sizes_rise_to_the_wanted_number():
    assert growth.sizes_for("sqlite") == (10, 10_000, 300_000)
    assert growth.sizes_for("postgresql") == (10, 10_000, 100_000)
    assert growth.sizes_for("sqlite", 300) == (10, 30, 300)
    assert growth.sizes_for("sqlite", 1) == (1,)
    assert growth_rows.answer_rows("sqlite", {1: [answer(10)]})[-1]["met"]


@pytest.mark.parametrize(("name", "option", "flag"), [("pki", {"devices": 3}, "--devices"), ("doors", {"keep": "."}, "--keep"), ("growth", {"without_clients": True}, "--without-clients")])  # fmt: skip
def test_an_option_of_another_benchmark_is_refused(name, option, flag):
    with pytest.raises(CommandError, match=flag):
        call_command("bench", name, **option)
