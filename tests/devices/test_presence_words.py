"""A device's presence is one word in the main database, and the counts of words are never wrong."""

import random
from datetime import timedelta

import pytest
from django.conf import settings
from django.db import DatabaseError, connections, transaction
from django.db.models import Count
from django.test.utils import CaptureQueriesContext

from devices import selectors
from devices.contact_words import IN_CHANGE, LATE_WORD, NEVER_WORD, ONLINE_WORD, OVERDUE_WORD, contact_limits
from devices.models import Device, FleetCount, Incident, Presence
from devices.services import fleet_counts, incidents, presence, presence_words, quarantine, registry
from pki.kernel import clock
from pki.kernel.errors import ConflictError, DomainError
from tests.factories.ground import person, system

pytestmark = pytest.mark.django_db

POLL = timedelta(seconds=settings.FLEET_POLL_S)


def word(device):
    return Device.objects.values_list("presence", flat=True).get(pk=device.pk)


def expected_word(seen, limits):
    """Return the word for a device that was last heard at a moment, or never; the server finds it in SQL."""
    if seen is None:
        return NEVER_WORD
    if seen >= limits.late:
        return ONLINE_WORD
    return LATE_WORD if seen >= limits.overdue else OVERDUE_WORD


def listed(domain, wanted):
    rows = selectors.list_devices(actor=system(domain), wanted=selectors.DeviceFilter(presence=wanted))
    return [row.name for row in rows]


def counted(domain):
    """Return the counts that are kept, and the same counted in the tables."""
    kept = selectors.device_counts(actor=system(domain))
    rows = Device.objects.filter(domain=domain)
    words = dict(rows.exclude(state="retired").values_list("presence").annotate(Count("id")))
    real = selectors.Counts(
        devices=rows.exclude(state="retired").count(),
        **{name: words.get(name, 0) for name in ("online", "late", "overdue", "never")},
        quarantined=rows.filter(quarantined_at__isnull=False).count(),
        open_incidents=Incident.objects.filter(domain=domain, state="open").count(),
    )
    return kept, real


def hear(*devices):
    for one in devices:
        presence.note_request(one.pk, "192.0.2.1", 0, 0)
    presence.flush_presence()


def test_a_device_goes_from_never_to_online_late_overdue_and_back(enrol):
    device, now = enrol("dev-1").device, clock.now()
    assert (word(device), presence_words.sweep_presence()) == ("never", 0)
    with clock.frozen(now):
        hear(device)
        assert presence_words.sweep_presence() == 1
    found = []
    for intervals in (1.4, 1.6, 2.9, 3.1):
        with clock.frozen(now + POLL * intervals):
            presence_words.sweep_presence()
            found.append(word(device))
    assert found == ["online", "late", "late", "overdue"]
    with clock.frozen(now + POLL * 9):
        hear(device)
        presence_words.sweep_presence()
        assert word(device) == "online"
        assert presence_words.sweep_presence() == 0


def test_list_detail_and_counts_say_the_same_word(enrol):
    one, other = enrol("dev-1").device, enrol("dev-2").device
    domain = one.domain
    hear(one)
    # A contact whose word has not been written yet is nowhere online: neither shown nor found nor counted.
    assert (listed(domain, "online"), word(one)) == ([], "never")
    assert selectors.device_counts(actor=system(domain)).never == 2
    presence_words.sweep_presence()
    assert (listed(domain, "online"), listed(domain, "never")) == ([one.name], [other.name])
    assert selectors.get_device(actor=system(domain), public_id=one.public_id).presence == "online"
    counts = selectors.device_counts(actor=system(domain))
    assert (counts.online, counts.never, counts.devices) == (1, 1, 2)


def test_a_retired_device_has_no_presence_and_gets_none_by_a_late_contact(domain, enrol):
    device = enrol("dev-1").device
    hear(device)
    presence_words.sweep_presence()
    registry.retire_device(actor=person(domain, "security-officer"), device=device)
    assert word(device) == ""
    with clock.frozen(clock.now() + POLL * 9):
        presence_words.sweep_presence()
        hear(device)
        presence_words.sweep_presence()
        presence_words.check_presence(domain=domain)
    assert word(device) == ""
    kept, real = counted(domain)
    assert kept == real
    assert kept.devices == 0


def test_a_fleet_is_brought_up_to_date_in_small_commits(enrol, monkeypatch):
    monkeypatch.setattr(presence_words, "BATCH", 3)
    devices = [enrol(f"dev-{number}").device for number in range(8)]
    hear(*devices)
    with CaptureQueriesContext(connections["default"]) as asked:
        assert presence_words.sweep_presence() == 8
    assert len([one for one in asked if one["sql"].startswith("UPDATE")]) == 3
    assert set(Device.objects.values_list("presence", flat=True)) == {"online"}
    kept, real = counted(devices[0].domain)
    assert kept == real


@pytest.mark.parametrize(
    ("database", "statement", "left"),
    [("default", 'UPDATE "devices_device"', "online"), ("default", 'INSERT INTO "devices_fleetcount"', "online"),
     ("telemetry", 'UPDATE "devices_presence"', "late")],
)  # fmt: skip
@pytest.mark.parametrize("returns", [False, True])
def test_a_stop_anywhere_between_the_two_databases_is_made_good_by_the_next_run(
    enrol, database, statement, left, returns
):
    device, then = enrol("dev-1").device, clock.now() + POLL * 2
    hear(device)
    presence_words.sweep_presence()
    struck = False

    def stop(execute, sql, *given):
        nonlocal struck
        if database == "telemetry" and sql.startswith(statement) and not struck:
            struck = True  # the first step; the second is stopped
        elif sql.startswith(statement):
            msg = "stopped"
            raise DatabaseError(msg)
        return execute(sql, *given)

    with clock.frozen(then):
        with connections[database].execute_wrapper(stop), pytest.raises(DatabaseError, match="stopped"):
            presence_words.sweep_presence()
        assert word(device) == left
        assert Presence.objects.get(device_id=device.pk).word == IN_CHANGE
        if returns:
            hear(device)
        assert presence_words.sweep_presence() == 1
        right = "online" if returns else "late"
        assert (word(device), Presence.objects.get(device_id=device.pk).word) == (right, right)
    kept, real = counted(device.domain)
    assert kept == real


def test_words_that_a_restored_database_lost_are_written_again(enrol):
    devices = [enrol(f"dev-{number}").device for number in range(4)]
    domain = devices[0].domain
    hear(*devices)
    presence_words.sweep_presence()
    with transaction.atomic():  # an older main database comes back
        Device.objects.filter(pk=devices[0].pk).update(presence="late")
        fleet_counts.note_counts({(domain.pk, "online"): -1, (domain.pk, "late"): 1})
    Presence.objects.filter(device_id=devices[1].pk).update(word="overdue")  # an older telemetry database
    Presence.objects.filter(device_id=devices[2].pk).delete()  # one that never heard of it
    assert presence_words.check_presence(domain=domain) == 3
    presence_words.sweep_presence()
    assert [word(one) for one in devices] == ["online", "online", "never", "online"]
    assert presence_words.check_presence(domain=domain) == 0
    kept, real = counted(domain)
    assert kept == real


def test_counts_that_are_wrong_are_corrected_once(enrol):
    device = enrol("dev-1").device
    domain = device.domain
    Device.objects.filter(pk=device.pk).update(presence="overdue")  # behind the services' back
    FleetCount.objects.create(domain=domain, kind="quarantined", delta=7)
    assert fleet_counts.recount_fleet(domain=domain) == {"never": -1, "overdue": 1, "quarantined": -7}
    assert fleet_counts.recount_fleet(domain=domain) == {}
    kept, real = counted(domain)
    assert kept == real


def test_folded_counts_are_few_rows_and_the_same_numbers(enrol, monkeypatch):
    monkeypatch.setattr(fleet_counts, "FOLDED", 30)
    device = enrol("dev-1").device
    for number in range(100):
        fleet_counts.note_count(device.domain_id, "late", 1 if number % 3 else -1)
    before = selectors.device_counts(actor=system(device.domain))
    assert fleet_counts.fold_counts(domain=device.domain) > 0
    assert selectors.device_counts(actor=system(device.domain)) == before
    assert FleetCount.objects.filter(domain=device.domain).count() <= fleet_counts.FEW


def test_the_numbers_of_the_overview_are_one_query_that_reads_no_device(enrol):
    device = enrol("dev-1").device
    with CaptureQueriesContext(connections["default"]) as asked, CaptureQueriesContext(connections["telemetry"]) as own:
        selectors.device_counts(actor=system(device.domain))
    assert (len(asked), len(own)) == (1, 0)
    assert "devices_device" not in asked[0]["sql"]


@pytest.mark.parametrize("seed", range(4))
def test_counts_equal_the_tables_after_any_history(domain, enrol, seed):
    source, now = random.Random(seed), clock.now()
    devices = [enrol(f"dev-{number}").device for number in range(5)]
    who = system(domain)

    def act(device):
        device.refresh_from_db()
        explanation = {"layer": "numeric", "score": 1.0}
        deeds = {
            "hear": lambda: hear(device),
            "sweep": presence_words.sweep_presence,
            "fold": lambda: fleet_counts.fold_counts(domain=domain),
            "check": lambda: presence_words.check_presence(domain=domain),
            "enrol": lambda: devices.append(enrol(f"dev-{len(devices)}").device),
            "hold": lambda: quarantine.quarantine_device(actor=who, device=device, reason="test"),
            "release": lambda: quarantine.release_device(actor=who, device=device, reason="test"),
            "open": lambda: incidents.raise_for(actor=who, device=device, severity="low", explanation=explanation),
            "close": lambda: _close(who, device),
            "return": lambda: registry.send_back(actor=who, device=device),
            "again": lambda: enrol(device.name),
            "retire": lambda: registry.retire_device(actor=who, device=device),
        }
        weights = [3 if name in {"hear", "sweep"} else 1 for name in deeds]
        try:
            with transaction.atomic():
                deeds[source.choices(list(deeds), weights)[0]]()
        except DomainError:
            pass  # this device cannot do that now: nothing has changed

    for _ in range(60):
        now += POLL * source.choice([0, 0.1, 0.5, 1, 2])
        with clock.frozen(now):
            act(source.choice(devices))
        kept, real = counted(domain)
        assert kept == real
    with clock.frozen(now):
        presence_words.sweep_presence()
        limits = contact_limits(now, settings.FLEET_POLL_S)
        seen = selectors.last_seen(one.pk for one in devices)
        for row in Device.objects.filter(domain=domain):
            expected = "" if row.state == "retired" else expected_word(seen.get(row.pk), limits)
            assert row.presence == expected


def _close(who, device):
    found = Incident.objects.filter(device=device, state="open").first()
    if found is None:
        msg = "none is open"
        raise ConflictError(msg)
    incidents.close(actor=who, public_id=found.public_id, verdict="benign")
