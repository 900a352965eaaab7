"""Rollouts of many devices: small commits, interrupted and taken over, and nothing offered too early."""

import time
from collections import Counter
from datetime import timedelta

import pytest
from django.db import connection

from devices.models import Device, Twin
from devices.services import groups, quarantine, registry
from ota import planning
from ota.models import Assignment, AssignmentEvent, Rollout, Wave
from ota.planning import Thresholds, WavePlan
from ota.selectors import rollouts as rows
from ota.services import assignment_batches, offers, pace, rollout_steps, rollouts
from ota.services.rollout_steps import StepBudget
from pki.kernel import clock
from pki.kernel.errors import ConflictError, InvalidError
from pki.models import Change, LedgerEntry
from tests.factories.ground import person, system
from tests.regressions import regression

MANY, MORE = 3000, 1300
WAVES = [WavePlan(count=1), WavePlan(count=1200), WavePlan(share=1000)]
MOST_ROWS, MOST_STATEMENTS = 1000, 40


class Site:
    """A domain with many devices and two releases."""

    def __init__(self, published, model, many):
        self.domain, self.model = published.domain, model
        self.releases = [published.release(published.bundle(f"{number}.0.0", number)) for number in (1, 2)]
        self.names = [f"dev-{number:05}" for number in range(many)]
        devices = [Device(domain=self.domain, name=name, hardware_model=model, state="active") for name in self.names]
        Device.objects.bulk_create(devices, batch_size=50)
        Twin.objects.bulk_create([Twin(device=one, desired={"config": {"a": 1}}) for one in devices], batch_size=50)
        self.actor = system(self.domain)

    def plan(self, name="big", release=0, waves=WAVES, target=""):
        further = {"waves": waves, "thresholds": Thresholds(1, 1000), "target": target}
        return rollouts.create(actor=self.actor, name=name, release=self.releases[release], **further)

    def steps(self, commits=None):
        rollout_steps.continue_steps(domain=self.domain, budget=StepBudget(commits, until=time.monotonic() + 600))

    def finish(self, wave):
        rows_ = Assignment.objects.filter(wave=wave)
        rows_.update(status="finished", closed_at=rows_.first().updated_at)

    def expected(self, name="big", waves=WAVES):
        return planning.assign_waves(name, self.names, waves)


def members(rollout):
    found = {wave.index: set() for wave in rollout.waves.all()}
    for index, name in rollout.assignments.values_list("wave__index", "device__name"):
        found[index].add(name)
    return [found[index] for index in sorted(found)]


def actions(rollout):
    entries = LedgerEntry.objects.filter(object_key=str(rollout.public_id)).order_by("id")
    return list(entries.values_list("action", flat=True))


@pytest.fixture
def site(published, hardware_model):
    return Site(published, hardware_model, MORE)


@pytest.fixture
def large_site(published, hardware_model):
    return Site(published, hardware_model, MANY)


class Commits:
    """Counts the rows that each transaction of the steps writes, and its statements; none is run once for each row."""

    def __init__(self):
        self.rows, self.statements = [0], [0]

    def __call__(self, execute, sql, params, many, context):
        if sql.startswith(("SAVEPOINT", "BEGIN")):
            self.rows.append(0)
            self.statements.append(0)
        self.statements[-1] += len(params) if many else 1
        result = execute(sql, params, many, context)
        if sql.lstrip().startswith(("INSERT", "UPDATE", "DELETE")):
            self.rows[-1] += max(context["cursor"].rowcount, 0)
        return result


@pytest.mark.django_db
@regression("B7", "a rollout whose target names an unknown group reaches nobody, also if the group is deleted later")
def test_a_target_that_names_an_unknown_group_reaches_nobody(site):
    by, target = person(site.domain, "operator"), "not group = spared"
    with pytest.raises(InvalidError, match="There is no group 'spared'"):
        site.plan(target=target)
    spared = groups.create(actor=by, name="spared")
    groups.change_members(actor=by, group=spared, add=Device.objects.filter(name=site.names[0]))
    rollout = site.plan(target=target)
    assert rollout.state == "preparing"
    groups.delete(actor=by, group=spared)
    site.steps()
    rollout.refresh_from_db()
    assert (rollout.state, rollout.assignments.count()) == ("aborted", 0)
    assert "There is no group 'spared'" in rollout.hold_reason


@pytest.mark.django_db
@regression("N2", "no commit of more than 1,000 rows while 3,000 devices are planned, offered and canceled")
def test_a_large_rollout_is_prepared_opened_and_aborted_in_small_commits(large_site):
    commits = Commits()
    with connection.execute_wrapper(commits):
        rollout = large_site.plan(waves=[WavePlan(share=1000)])
        assert (rollout.state, rows.rollout_progress(rollout).step.text) == ("preparing", "preparing, choosing devices")
        large_site.steps()
        rollout.refresh_from_db()
        assert (rollout.state, rollout.targets) == ("draft", MANY)
        rollouts.start(actor=large_site.actor, rollout=rollout)
        rollouts.tick(domain=large_site.domain)
        large_site.steps()
        assert rollout.waves.get().state == "open"
        assert rows.rollout_progress(rollout).groups == {"offered": MANY}
        rollout = rollouts.abort(actor=large_site.actor, rollout=rollout)
        assert rollout.state == "aborting"
        large_site.steps()
    rollout.refresh_from_db()
    assert rollout.state == "aborted"
    assert rows.rollout_progress(rollout).groups == {"canceled": MANY}
    assert MOST_ROWS / 2 < max(commits.rows) <= MOST_ROWS + 2
    assert max(commits.statements) <= MOST_STATEMENTS
    assert actions(rollout) == [
        "rollout.created", "rollout.prepared", "rollout.start", "rollout.wave-opened", "rollout.abort", "rollout.aborted",
    ]  # fmt: skip
    assert AssignmentEvent.objects.filter(assignment__rollout=rollout).count() == MANY
    twin = Twin.objects.filter(device__name=large_site.names[7]).get()
    action = Assignment.objects.get(rollout=rollout, device=twin.device_id).action_id
    assert twin.desired == {
        "config": {"a": 1},
        "components": {"app": {"version": "1.0.0", "counter": 1, "action": action}},
    }


@pytest.mark.django_db
@regression("N2", "a rollout is interrupted after each of its commits")
def test_a_step_goes_on_after_every_commit_at_which_it_was_interrupted(site):
    rollout = site.plan()
    seen = []

    def until(done):
        for _ in range(100):
            rollout.refresh_from_db()
            if done():
                return
            site.steps(commits=1)
            seen.append(rows.rollout_progress(rollout).step)
        pytest.fail("the step makes no progress")

    until(lambda: rollout.state == "draft")
    assert [set(one) for one in site.expected()] == members(rollout)
    numbers = list(rollout.assignments.values_list("action_id", flat=True))
    assert len(set(numbers)) == MORE
    rollouts.start(actor=site.actor, rollout=rollout)
    for wave in rollout.waves.all():
        rollouts.tick(domain=site.domain)
        until(lambda key=wave.pk: Wave.objects.get(pk=key).state == "open")
        assert set(wave.assignments.values_list("status", flat=True)) == {"scheduled"}
        if wave.index < 2:
            site.finish(wave)
            rollouts.tick(domain=site.domain)
    rollouts.abort(actor=site.actor, rollout=rollout)
    until(lambda: rollout.state == "aborted")
    assert Counter(rollout.assignments.values_list("status", flat=True)) == {"finished": 1200, "canceled": 100}
    assert actions(rollout).count("rollout.prepared") == actions(rollout).count("rollout.aborted") == 1
    assert actions(rollout).count("rollout.wave-opened") == 3
    assert any(one and one.name == "preparing" and one.done == 1000 for one in seen)
    assert any(one and one.name == "opening wave 2" and 0 < one.done < 1199 for one in seen)


@pytest.mark.django_db
def test_who_lost_the_preparation_to_another_process_writes_nothing_more(site):
    rollout = site.plan()
    first = Rollout.objects.select_related("release__bundle", "domain").get(pk=rollout.pk)
    assert rollout_steps.claim_preparation(first)
    chosen = rollout_steps.participants.choose_participants(first)
    site_again = Rollout.objects.get(pk=rollout.pk)
    assert rollout_steps.claim_preparation(site_again)
    rollout_steps.fill_waves(site.actor, first, chosen, StepBudget())
    rollout.refresh_from_db()
    assert (rollout.state, rollout.assignments.count()) == ("preparing", 0)


@pytest.mark.django_db
@regression("N2", "the clock of the job goes a little after the clock of who prepares a rollout, or far after it")
@pytest.mark.parametrize(("seconds", "taken"), [(-3600, True), (-1, False), (1, False), (3600, True)])
def test_a_preparation_is_taken_over_only_from_who_fell_silent_whatever_the_clocks_say(site, seconds, taken):
    rollout = site.plan()
    assert rollout_steps.claim_preparation(rollout)
    with clock.frozen(rollout.planned_at + timedelta(seconds=seconds)):
        site.steps(commits=1)
    assert (Rollout.objects.get(pk=rollout.pk).planner != rollout.planner) is taken


@pytest.mark.django_db
@regression("N2", "devices are retired, returned or quarantined while a rollout is prepared and opened")
def test_what_changes_of_devices_between_the_commits_is_heeded(site):
    officer = person(site.domain, "security-officer")
    rollout = site.plan(waves=[WavePlan(share=1000)])
    site.steps(commits=1)
    retired, returned, held = (Device.objects.get(name=name) for name in site.names[:3])
    registry.decommission(actor=officer, device=retired, confirmed=retired.name)
    site.steps()
    rollouts.start(actor=site.actor, rollout=rollout)
    rollouts.tick(domain=site.domain)
    site.steps(commits=1)
    registry.send_back(actor=officer, device=returned)
    quarantine.quarantine_device(actor=site.actor, device=held, reason="odd")
    site.steps()
    assert rollout.waves.get().state == "open"
    held.refresh_from_db()
    assert offers.current_offer(held) is None
    gone = rollout.assignments.filter(device__in=[retired, returned])
    assert all(one.status in {"canceled", "scheduled"} for one in gone)
    canceled = rollout.assignments.filter(status="canceled")
    assert all(
        reason in {"the device is retired", "the device is returned"}
        for reason in canceled.values_list("reason", flat=True)
    )
    assert Twin.objects.get(device=retired).desired == {}
    assert rollout.assignments.filter(status="scheduled").count() >= MORE - 3


@pytest.mark.django_db
def test_nothing_is_offered_before_the_wave_opens_nor_while_the_rollout_is_paused_or_aborting(site):
    rollout = site.plan()
    site.steps(commits=1)
    some = Device.objects.get(name=site.expected()[1][0])
    with pytest.raises(ConflictError, match="start requires a rollout that is draft; this one is preparing"):
        rollouts.start(actor=site.actor, rollout=rollout)
    assert offers.current_offer(some) is None
    site.steps()
    rollouts.start(actor=site.actor, rollout=rollout)
    rollouts.tick(domain=site.domain)
    assert offers.current_offer(some) is None
    site.finish(rollout.waves.first())
    rollouts.tick(domain=site.domain)
    rollouts.tick(domain=site.domain)
    site.steps(commits=2)
    offered = {one.device_id for one in rollout.assignments.filter(status="scheduled")}
    assert 0 < len(offered) <= 2 * assignment_batches.OFFERED
    assert all(offers.current_offer(one) for one in Device.objects.filter(pk__in=list(offered)[:3]))
    rollouts.pause(actor=site.actor, rollout=rollout)
    site.steps()
    assert rollout.assignments.filter(status="scheduled").count() == len(offered)
    assert offers.current_offer(Device.objects.get(pk=min(offered))) is None
    rollouts.resume(actor=site.actor, rollout=rollout)
    site.steps(commits=1)
    begun = rollout.assignments.filter(status="scheduled").first()
    Assignment.objects.filter(pk=begun.pk).update(status="download")
    rollout = rollouts.abort(actor=site.actor, rollout=rollout)
    assert rollout.state == "aborting"
    assert offers.current_offer(Device.objects.get(pk=max(offered))) is None
    site.steps()
    rollout.refresh_from_db()
    begun.refresh_from_db()
    assert (rollout.state, begun.status, begun.open) == ("aborted", "canceling", True)


@pytest.mark.django_db
@regression("N2", "choosing the devices takes longer than one run of the job may")
def test_a_run_whose_time_went_for_choosing_devices_places_some_all_the_same(site):
    rollout = site.plan()
    rollout_steps.continue_steps(domain=site.domain, budget=StepBudget(until=0.0))
    rollout.refresh_from_db()
    assert (rollout.state, rollout.assignments.count()) == ("draft", MORE)


@pytest.mark.django_db
def test_a_rollout_is_aborted_while_it_is_preparing(site):
    rollout = site.plan()
    site.steps(commits=1)
    rollouts.abort(actor=site.actor, rollout=rollout)
    site.steps()
    rollout.refresh_from_db()
    assert (rollout.state, rollout.assignments.filter(closed_at=None).count()) == ("aborted", 0)


@pytest.mark.django_db
def test_a_large_rollout_that_no_device_is_left_for_ends_with_the_reason(site):
    Device.objects.update(audience="lab")
    rollout = site.plan()
    site.steps()
    rollout.refresh_from_db()
    assert rollout.state == "aborted"
    assert (
        rollout.hold_reason
        == f"No device is eligible for this rollout: {MORE} because the bundle is signed for production only."
    )


@pytest.mark.django_db
def test_a_newer_rollout_takes_the_place_of_an_older_one_for_all_devices(site):
    for number, name in enumerate(["old", "new"]):
        rollout = site.plan(name, release=number, waves=[WavePlan(share=1000)])
        site.steps()
        rollouts.start(actor=site.actor, rollout=rollout)
        rollouts.tick(domain=site.domain)
        before = Change.objects.count()
        site.steps()
        assert Change.objects.count() == before + MORE
    old = Assignment.objects.filter(rollout__name="old")
    assert Counter(old.values_list("status", flat=True)) == {"canceled": MORE}
    pairs = dict(Assignment.objects.filter(rollout__name="new").values_list("device_id", "action_id"))
    assert all(one.reason == f"superseded by action {pairs[one.device_id]}" for one in old)
    assert all(len(rows.open_assignments(one)) == 1 for one in Device.objects.all()[:5])


@pytest.mark.parametrize("placed", [[0, 0, 0], [1, 0, 0], [1, 5, 0], [0, 7, 0], [1, 9, 10]])
def test_an_interrupted_plan_keeps_the_size_of_each_wave(placed):
    waves = [WavePlan(count=1), WavePlan(share=250), WavePlan(share=1000)]
    spread = planning.spread_order(range(40 - sum(placed)), waves, placed)
    assert [len(new) + old for new, old in zip(spread, placed, strict=True)] == [1, 9, 30]


def test_the_order_of_waves_is_that_of_a_plan_made_in_one_go():
    names = [f"d{number}" for number in range(30)]
    waves = [WavePlan(count=3), WavePlan(share=1000)]
    whole = planning.assign_waves("seed", names, waves)
    order = sorted(names, key=lambda name: planning.rank_device("seed", name))
    rest = planning.spread_order(order[2:], waves, [2, 0])
    assert [order[:2] + rest[0], rest[1]] == whole


@pytest.mark.django_db
def test_what_is_read_ahead_comes_once_and_in_order_though_nothing_of_it_changes(site, monkeypatch):
    monkeypatch.setattr(pace, "READ", 7)
    rollout = site.plan()
    site.steps()
    seen, ahead = [], pace.ReadAhead(rollout.assignments.all(), "id")
    while page := ahead.first(5):
        seen += [key for (key,) in page]
        assert len(seen) <= rollout.assignments.count()
        ahead.done(page[-1][0])
    assert seen == sorted(rollout.assignments.values_list("id", flat=True))
