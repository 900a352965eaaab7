"""Lists of assignments by group hold the rows whose status belongs to it, lists of devices those that update."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from devices.models import Device
from ota.models import Assignment, AssignmentEvent, Rollout, Wave
from ota.selectors import device_list, rollouts
from ota.selectors.rollouts import GROUPS, AssignmentFilter
from ota.services import rollout_steps
from ota.services import rollouts as services
from pki.kernel import clock
from pki.models import LedgerEntry
from tests.factories.ground import system

pytestmark = pytest.mark.django_db


@pytest.fixture
def rollout(published, hardware_model):
    """Return a rollout with one assignment in each status, and one of another rollout in each."""
    release = published.release(published.bundle("1.0.0", 1))
    made = []
    for name in ("ours", "other"):
        rollout = Rollout.objects.create(
            domain=published.domain, name=name, release=release, success_permille=900, error_permille=100,
            state="running", created_by="test",
        )  # fmt: skip
        wave = Wave.objects.create(rollout=rollout, index=0, label="all", soak_s=1, state="open")
        for number, status in enumerate(Assignment.Status.values):
            device = Device.objects.create(
                domain=published.domain, name=f"{name}-{number}", hardware_model=hardware_model
            )
            Assignment.objects.create(
                domain=published.domain, action_id=1000 * len(made) + number, rollout=rollout, wave=wave,
                device=device, bundle=release.bundle, kind="update", status=status, content_stamp=1,
            )  # fmt: skip
        made.append(rollout)
    return made[0]


@pytest.mark.parametrize("group", sorted(set(GROUPS.values())))
def test_a_group_holds_the_assignments_whose_status_belongs_to_it(rollout, group):
    wished = sorted(status for status, name in GROUPS.items() if name == group)
    actor = system(rollout.domain)
    found = rollouts.list_assignments(actor=actor, wanted=AssignmentFilter(rollout="ours", group=group))
    assert sorted(found.values_list("status", flat=True)) == wished
    assert {row.rollout_id for row in found} == {rollout.pk}
    everywhere = rollouts.list_assignments(actor=actor, wanted=AssignmentFilter(group=group))
    assert sorted(everywhere.values_list("status", flat=True)) == sorted(wished * 2)


@pytest.mark.parametrize("few", [0, 1000])
def test_devices_that_update_are_found_and_counted_whatever_their_number(rollout, monkeypatch, few):
    monkeypatch.setattr(device_list, "FEW_UPDATES", few)
    actor = system(rollout.domain)
    names = [f"{name}-{number}" for number in range(len(GROUPS)) for name in ("ours", "other")]
    rows = Assignment.objects.filter(device__name__in=names)
    ended = {"waiting", "canceled", "error", "finished"}
    rows.filter(status__in=ended - {"waiting"}).update(closed_at=clock.now())
    begun = rows.exclude(status__in=ended)
    # A repair belongs to no rollout.
    begun.filter(status="running", rollout=rollout).update(rollout=None, wave=None, kind="repair")
    wished = sorted(begun.values_list("device__name", flat=True))
    for word, there in (("yes", wished), ("no", sorted(set(names) - set(wished)))):
        found = device_list.list_fleet(actor=actor, wanted=device_list.FleetFilter(updating=word))
        assert [name for name in found.values_list("name", flat=True) if name in names] == there
    assert device_list.count_updates(actor=actor) == len(wished) == 16


def test_the_newest_messages_of_an_assignment_are_returned_oldest_first(rollout, monkeypatch):
    monkeypatch.setattr(rollouts, "MOST_MESSAGES", 20)
    monkeypatch.setattr(rollouts, "MESSAGES_OF_A_PAGE", 30)
    chatty, quiet, silent = Assignment.objects.filter(rollout=rollout).order_by("id")[:3]
    for number in range(40):
        AssignmentEvent.objects.create(assignment=chatty, status="running", text=f"message {number}")
        if number < 3:
            AssignmentEvent.objects.create(assignment=quiet, status="running", text=f"message {number}")
    newest = [f"message {number}" for number in range(20, 40)]
    assert rollouts.messages_of([chatty]) == {chatty.pk: newest}
    both = {chatty.pk: newest[-10:], quiet.pk: ["message 0", "message 1", "message 2"]}
    assert rollouts.messages_of([chatty, quiet, silent]) == both
    assert rollouts.messages_of([]) == {}


def test_the_job_that_looks_at_rollouts_reads_no_names_of_excluded_devices(rollout):
    rollout.waves.update(soak_s=10_000)
    with CaptureQueriesContext(connection) as seen:
        services.tick(domain=rollout.domain)
        rollout_steps.continue_steps(domain=rollout.domain)
        list(rollouts.brief_rollouts(actor=system(rollout.domain)))
        list(rollouts.list_assignments(actor=system(rollout.domain), wanted=AssignmentFilter(rollout="ours")))
    assert [one["sql"] for one in seen if '"ota_rollout"."excluded"' in one["sql"]] == []


def test_a_step_reads_the_numbers_of_a_rollout_from_the_kept_counts(rollout):
    rollout.waves.update(state="opening")
    Assignment.objects.filter(rollout=rollout, status="waiting").delete()
    with CaptureQueriesContext(connection) as seen:
        rollout_steps.continue_steps(domain=rollout.domain)
        services.abort(actor=system(rollout.domain), rollout=rollout)
    counts = [one["sql"] for one in seen if "COUNT(" in one["sql"] and '"ota_assignment"' in one["sql"]]
    assert [sql for sql in counts if "LIMIT" not in sql] == []
    opened, aborted = (
        LedgerEntry.objects.filter(action=action, object_key=str(rollout.public_id)).latest("id").detail
        for action in ("rollout.wave-opened", "rollout.aborted")
    )
    assert opened["devices"] == 11
    assert aborted["canceled"] == Assignment.objects.filter(rollout=rollout, status__startswith="cancel").count() > 2
