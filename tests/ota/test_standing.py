"""How the roles of the update metadata stand: who signs, until when it holds, and whom it concerns before it ends."""

import json
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import call_command
from tuf.api.metadata import Targets

from ota.selectors import roles as selector
from ota.services import online_roles
from ota.trust import repository, standing
from pki.kernel import clock
from tests.factories.ground import system

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("role", "left", "level"),
    [
        ("root", 91 * DAY, "good"), ("root", 90 * DAY, "soon"), ("root", 30 * DAY, "urgent"), ("root", 0 * DAY, "over"),
        ("targets", 91 * DAY, "good"), ("targets", -DAY, "over"), ("bins", 29 * DAY, "urgent"),
        ("snapshot", 3.5 * DAY, "good"), ("snapshot", 2 * DAY, "soon"), ("snapshot", 0.5 * DAY, "urgent"),
        ("timestamp", timedelta(minutes=30), "good"), ("timestamp", timedelta(minutes=20), "soon"),
        ("timestamp", timedelta(minutes=10), "urgent"), ("timestamp", timedelta(seconds=-1), "over"),
    ],
)  # fmt: skip
def test_the_nearer_the_end_the_more_urgent(role, left, level):
    now = clock.now()
    assert standing.expiry_level(role, now + left, now) == level


def test_what_a_job_signs_anew_in_time_is_never_urgent():
    """A snapshot is signed anew at half of its seven days, a timestamp at half of its hour, looked at twice a minute."""
    now = clock.now()
    assert standing.expiry_level("snapshot", now + 3.5 * DAY - timedelta(minutes=1), now) == "good"
    assert standing.expiry_level("timestamp", now + timedelta(minutes=29), now) == "good"


@pytest.fixture
def at(monkeypatch):
    """Let the present be another one."""

    def move(by):
        then = clock.now() + by
        monkeypatch.setattr(clock, "now", lambda: then)

    return move


def test_before_the_ceremony_there_is_nothing_to_tell(domain):
    assert selector.role_states(actor=system(domain)) == []
    assert selector.role_alarms(actor=system(domain)) == []


def test_each_role_is_told_with_who_signs_it(published):
    online_roles.refresh_online_roles(domain=published.domain)
    found = {one.role: one for one in selector.role_states(actor=system(published.domain))}
    assert list(found) == ["root", "targets", "snapshot", "timestamp", "bins"]
    assert (found["root"].threshold, found["root"].holders, found["root"].online) == (
        2,
        ("anna", "bruno", "carla"),
        False,
    )
    assert found["targets"].holders == ("anna", "bruno", "carla")
    assert found["bins"].version == 4
    assert found["timestamp"].online
    assert len(found["timestamp"].holders[0]) == 64
    assert {one.level for one in found.values()} == {"good"}
    assert all(one.advice == "" for one in found.values())


def test_in_the_last_months_of_a_year_the_officers_are_called(published, at):
    online_roles.refresh_online_roles(domain=published.domain)
    at(300 * DAY)  # the signer lives in the true present and would sign nothing for that day
    found = {one.role: one for one in selector.role_states(actor=system(published.domain))}
    assert {name: one.level for name, one in found.items()} == {
        "root": "soon", "targets": "soon", "bins": "soon", "snapshot": "over", "timestamp": "over",
    }  # fmt: skip
    assert "tuf-next-root" in found["root"].advice
    assert "release renew" in found["bins"].advice
    assert [one.role for one in selector.role_alarms(actor=system(published.domain))] == [
        "root", "targets", "snapshot", "timestamp", "bins",
    ]  # fmt: skip


def test_the_bin_that_ends_first_is_found_anew_with_each_snapshot(published):
    """The alarms look at one bin only; it is the same that all of them together say."""
    for version, counter in (("1.0.0", 1), ("1.1.0", 2)):
        published.release(published.bundle(version, counter))
        [short] = [
            one for one in selector.role_states(actor=system(published.domain), whole=False) if one.role == "bins"
        ]
        [whole] = [one for one in selector.role_states(actor=system(published.domain)) if one.role == "bins"]
        assert (short.expires, short.level) == (whole.expires, whole.level)


def bins_of(domain):
    return next((one for one in selector.role_states(actor=system(domain)) if one.role == "bins"), None)


def test_bins_that_were_read_once_are_not_parsed_again(published, monkeypatch):
    first = bins_of(published.domain)
    parsed = []
    load = repository.load_document
    monkeypatch.setattr(repository, "load_document", lambda data, kind: parsed.append(kind) or load(data, kind))
    assert bins_of(published.domain) == first
    assert parsed.count(Targets) == 1, "the targets that delegate to them"


def test_a_bin_that_is_exchanged_after_it_was_read_counts_by_its_own_bytes(published, settings):
    """What is remembered belongs to bytes and not to names: a file that nobody signed does not end when another did."""
    assert bins_of(published.domain).version == 4
    [path] = (settings.FLEET_DIR / "tuf" / published.domain.slug).glob("1.b-0.json")
    signed = path.read_bytes()
    forged = json.loads(signed)
    forged["signed"]["expires"] = "2099-01-01T00:00:00Z"
    path.write_text(json.dumps(forged))
    assert bins_of(published.domain).version == 3
    path.write_bytes(signed)
    assert bins_of(published.domain).version == 4


def test_a_worker_that_stands_still_is_noticed_within_the_hour(published, at):
    online_roles.refresh_online_roles(domain=published.domain)
    at(timedelta(minutes=50))
    [one] = selector.role_alarms(actor=system(published.domain))
    assert (one.role, one.level) == ("timestamp", "urgent")
    assert "manage.py doctor" in one.advice
    at(timedelta(minutes=11))
    assert selector.role_alarms(actor=system(published.domain))[0].level == "over"


def test_the_command_tells_the_same(published):
    online_roles.refresh_online_roles(domain=published.domain)
    out = StringIO()
    call_command("release", "--domain", published.domain.slug, "status", "--json", stdout=out)
    found = json.loads(out.getvalue())
    assert [one["role"] for one in found] == ["root", "targets", "snapshot", "timestamp", "bins"]
    assert found[0]["holders"] == ["anna", "bruno", "carla"]
