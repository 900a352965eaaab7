"""The counts of a rollout's devices by status: equal to a count of the rows, whatever has happened."""

import random
import secrets
from collections import Counter
from contextlib import suppress
from threading import Thread

import pytest
from django.db import IntegrityError, connection, connections, transaction
from django.db.models import Sum

from devices.models import Device, HardwareModel, Twin
from devices.services import registry
from ota.models import Assignment, Bundle, PatchCount, PatchTry, Release, Rollout, StatusCount, Wave
from ota.planning import Thresholds, WavePlan
from ota.selectors import rollouts as rows
from ota.selectors.status_counts import count_by_rollout, count_by_wave, count_causes
from ota.services import assignments, count_parts, deltas, patch_counts, rollout_steps, rollouts, status_counts
from ota.services.assignments import Feedback
from ota.services.rollout_steps import StepBudget
from pki.kernel import actor as actors
from pki.kernel import ids
from pki.kernel.errors import DomainError
from pki.models import TrustDomain
from tests.factories.ground import system

DEVICES, ACTS = 12, 60
WAVES = [WavePlan(count=2), WavePlan(share=600), WavePlan(share=1000)]
FORMATS = ("muster-1", "zstd")
REASONS = ("", "no space", "no power", "x" * 500, "дощ")


class CrashError(Exception):
    """Ends a transaction as the end of its process would."""


class Fleet:
    """A domain with some devices and two releases, and everything that may happen to their assignments."""

    def __init__(self, published, model, seed):
        self.domain, self.chance, self.number = published.domain, random.Random(seed), 0
        self.actor, self.patches = system(self.domain), random.Random(seed)
        self.releases = [published.release(published.bundle(f"{number}.0.0", number)) for number in (1, 2)]
        Device.objects.bulk_create(
            Device(domain=self.domain, name=f"dev-{number}", hardware_model=model, state="active")
            for number in range(DEVICES)
        )
        Twin.objects.bulk_create(Twin(device=one) for one in Device.objects.all())

    def act(self):
        """Do something at random; one in five ends in a crash, in others that are refused nothing happens."""
        act = self.chance.choice([self.plan, self.step, self.step, *[self.report] * 6, self.cancel, self.repair,
                                  *[self.report] * 4, self.move_on, self.retire, self.tidy, self.remove])  # fmt: skip
        with suppress(DomainError, CrashError), transaction.atomic():
            act()
            if self.chance.randrange(5) == 0:
                raise CrashError

    def plan(self):
        self.number += 1
        release = self.chance.choice(self.releases)
        made = rollouts.create(
            actor=self.actor, name=f"r{self.number}", release=release, waves=WAVES, thresholds=Thresholds(1, 1000)
        )
        rollouts.start(actor=self.actor, rollout=made)

    def step(self):
        for wave in Wave.objects.filter(state="open")[:1]:
            Wave.objects.filter(pk=wave.pk).update(state="done")
        rollouts.tick(domain=self.domain)
        rollout_steps.continue_steps(domain=self.domain, budget=StepBudget(2))

    def one(self, **wanted):
        found = list(Assignment.objects.filter(**wanted).select_related("device", "wave").order_by("id"))
        if not found:
            raise CrashError
        return self.chance.choice(found)

    def report(self):
        one = self.one(closed_at=None)
        status = self.chance.choice(["running", "download", "downloaded", "installed", "warning", "error", "finished"])
        said = Feedback(status, ["so"], self.chance.choice(REASONS))
        who = actors.device_actor(self.domain.slug, str(one.device.public_id))
        assignments.store_feedback(actor=who, device=one.device, action_id=one.action_id, said=said)

    def patch(self):
        """Let a device report on a patch, or lose such a report; one in five ends in a crash."""
        chance = self.patches
        with suppress(CrashError), transaction.atomic():
            for one in chance.sample(list(Assignment.objects.exclude(status="waiting").order_by("id")), 1):
                who = actors.device_actor(self.domain.slug, str(one.device.public_id))
                told = {"format_": chance.choice(FORMATS), "trouble": chance.choice(["", "", "odd", "no memory"])}
                deltas.note_patch_result(actor=who, device=one.device, action_id=one.action_id, **told)
                if chance.randrange(4) == 0:
                    PatchTry.objects.filter(assignment__device=one.device).delete()
            if chance.randrange(5) == 0:
                raise CrashError

    def cancel(self):
        assignments.cancel_assignment(actor=self.actor, assignment=self.one(closed_at=None))

    def repair(self):
        assignments.roll_device_back(actor=self.actor, device=self.one().device, reason="drift")

    def move_on(self):
        rollout = self.chance.choice(list(Rollout.objects.all()) or [Rollout()])
        act = self.chance.choice([rollouts.pause, rollouts.resume, rollouts.resume, rollouts.hold, rollouts.abort])
        act(actor=self.actor, rollout=rollout, **({"reason": "odd"} if act is rollouts.hold else {}))

    def retire(self):
        registry.retire_device(actor=self.actor, device=self.one().device)

    def tidy(self):
        count_parts.add_up(domain=self.domain)
        status_counts.recount_next(domain=self.domain)

    def remove(self):
        self.one(status__in=["canceled", "finished"]).delete()


def counted():
    """Return the true numbers, by wave, status and cause, from the rows."""
    found = Assignment.objects.exclude(wave=None).values_list("wave_id", "status", "reason")
    return Counter((wave, status, reason if status == "error" else "") for wave, status, reason in found)


def kept():
    """Return what is kept of it."""
    found = StatusCount.objects.values_list("wave_id", "status", "reason").annotate(there=Sum("devices")).order_by()
    return Counter({(wave, status, reason): there for wave, status, reason, there in found if there})


def counted_patches():
    """Return the true numbers of reports on patches, by rollout, format and whether it failed."""
    found = PatchTry.objects.exclude(assignment__rollout=None).values_list("assignment__rollout", "format", "trouble")
    return Counter((rollout, name, trouble != "") for rollout, name, trouble in found)


def kept_patches():
    """Return what is kept of it."""
    found = PatchCount.objects.values_list("rollout_id", "format", "failed").annotate(there=Sum("devices")).order_by()
    return Counter({(rollout, name, failed): there for rollout, name, failed, there in found if there})


@pytest.mark.django_db
@pytest.mark.parametrize("seed", range(8))
def test_counts_equal_the_rows_after_each_act_of_a_random_history(published, hardware_model, seed):
    fleet = Fleet(published, hardware_model, seed)
    fleet.plan()
    fleet.step()
    seen, tried = Counter(), set()
    for _ in range(ACTS):
        fleet.act()
        fleet.patch()
        assert kept() == counted()
        assert kept_patches() == counted_patches()
        seen.update(status for _, status, _ in kept())
        tried.update((name, failed) for _, name, failed in kept_patches())
    assert len(seen) > 3
    assert len(tried) == 4
    every = list(Rollout.objects.all())
    for key, statuses in count_by_rollout(every).items():
        real = Counter(Assignment.objects.filter(rollout=key).values_list("status", flat=True))
        assert statuses == real
        causes = Counter(Assignment.objects.filter(rollout=key, status="error").values_list("reason", flat=True))
        assert sorted(count_causes(every, 20).get(key, [])) == sorted(causes.items())


@pytest.fixture
def fleet(published, hardware_model):
    made = Fleet(published, hardware_model, 1)
    made.plan()
    made.step()
    return made


@pytest.mark.django_db
def test_what_devices_give_as_causes_is_counted_by_cause_the_most_frequent_first(fleet):
    open_ones = list(Assignment.objects.order_by("id"))
    for number, one in enumerate(open_ones[:6]):
        Assignment.objects.filter(pk=one.pk).update(status="error", reason=REASONS[1 + number % 2 * (number > 2)])
    rollout = Rollout.objects.get()
    assert rows.rollout_progress(rollout).causes == [("no space", 4), ("no power", 2)]
    assert count_causes([rollout], 1) == {rollout.pk: [("no space", 4)]}
    Assignment.objects.filter(reason="no power").update(reason="no space")
    assert rows.rollout_progress(rollout).causes == [("no space", 6)]


@pytest.mark.django_db
def test_beyond_a_number_of_different_causes_a_wave_counts_the_others_together(fleet, monkeypatch):
    monkeypatch.setattr(status_counts, "MOST_COUNTED", 1)
    wave = Wave.objects.get(index=1)
    Assignment.objects.filter(wave=wave).update(status="running")
    ended = []
    for number, one in enumerate(Assignment.objects.filter(wave=wave).select_related("device").order_by("id")[:4]):
        who = actors.device_actor(fleet.domain.slug, str(one.device.public_id))
        said = Feedback("error", ["so"], ("no space", "own 1", "own 2", "no space")[number])
        ended.append(assignments.store_feedback(actor=who, device=one.device, action_id=one.action_id, said=said))
    assert [one.reason for one in ended] == ["no space", "other causes", "other causes", "no space"]
    assert [one.events.last().text for one in ended] == ["no space", "own 1", "own 2", "no space"]
    assert rows.rollout_progress(wave.rollout).causes == [("no space", 2), ("other causes", 2)]
    assert kept() == counted()
    assert not status_counts.recount_wave(wave=wave)


@pytest.mark.django_db
def test_the_causes_of_one_rollout_are_cut_by_the_database(fleet, django_assert_num_queries):
    for number, one in enumerate(Assignment.objects.order_by("id")):
        Assignment.objects.filter(pk=one.pk).update(status="error", reason=f"own {number:02}")
    rollout = Rollout.objects.get()
    with django_assert_num_queries(1) as seen:
        found = count_causes([rollout], 3)
    assert found == {rollout.pk: [("own 00", 1), ("own 01", 1), ("own 02", 1)]}
    assert seen.captured_queries[0]["sql"].endswith("LIMIT 3")


@pytest.mark.django_db
def test_parts_are_added_up_in_pieces_and_the_sums_stay(fleet, monkeypatch):
    monkeypatch.setattr(count_parts, "PARTS", 3)
    for one in Assignment.objects.filter(closed_at=None):
        Assignment.objects.filter(pk=one.pk).update(status="running")
    before, parts = kept(), StatusCount.objects.filter(part__gt=0).count()
    assert (parts > 10) == (connection.vendor == "postgresql")
    assert count_parts.add_up(domain=fleet.domain) == parts
    assert kept() == before == counted()
    assert not StatusCount.objects.filter(part__gt=0).exists()
    assert StatusCount.objects.values("wave", "status", "reason").distinct().count() == StatusCount.objects.count()


@pytest.mark.django_db
def test_counts_that_somebody_has_spoilt_are_corrected_a_wave_at_a_time(fleet):
    StatusCount.objects.filter(devices__gt=0).update(devices=7)
    wrong = [wave for wave in Wave.objects.all() if status_counts.recount_wave(wave=wave)]
    assert kept() == counted()
    assert wrong
    assert not any(status_counts.recount_wave(wave=wave) for wave in Wave.objects.all())
    StatusCount.objects.all().delete()
    for _ in range(2 * Wave.objects.count() + 1):
        status_counts.recount_next(domain=fleet.domain)
    assert kept() == counted()


@pytest.mark.django_db
def test_a_transaction_that_fails_counts_nothing(fleet):
    before = kept()
    with pytest.raises(IntegrityError), transaction.atomic():  # noqa: PT012  because both belong to one transaction
        Assignment.objects.update(status="finished")
        Wave.objects.create(rollout=Rollout.objects.get(), index=0, label="x", soak_s=0)
    assert kept() == before == counted()


@pytest.mark.django_db
def test_progress_of_many_rollouts_reads_no_assignment(fleet, django_assert_num_queries):
    fleet.plan()
    every = list(Rollout.objects.all())
    with django_assert_num_queries(3) as seen:
        found = rows.progress_of(every)
    assert {key: one.devices for key, one in found.items()} == dict.fromkeys(found, DEVICES)
    assert not any('"ota_assignment"' in one["sql"] for one in seen.captured_queries)


@pytest.fixture
def committed(django_db_setup, django_db_blocker):
    """Return a wave of some devices that is really committed: other transactions see nothing else."""
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has one writer at a time; tests/faults has its two workers")
    with django_db_blocker.unblock():
        domain = TrustDomain.objects.create(slug=f"d{secrets.token_hex(6)}", name="At once")
        model = HardwareModel.objects.create(
            domain=domain, name="n", vendor="v", vendor_id=ids.uuid7(), class_id=ids.uuid7()
        )
        devices = [Device(domain=domain, name=f"dev-{number}", hardware_model=model) for number in range(DEVICES)]
        Device.objects.bulk_create(devices)
        bundle = Bundle.objects.create(
            domain=domain, digest=secrets.token_hex(32), name="n", version="1", kind="firmware", format="generic",
            component="app", security_counter=1, audience=[], manifest={}, report={}, facts={}, uploaded_by_kind="x",
            uploaded_by_key="x",
        )  # fmt: skip
        release = Release.objects.create(domain=domain, bundle=bundle)
        rollout = Rollout.objects.create(
            domain=domain, name="r", release=release, success_permille=1, error_permille=1000
        )
        wave = Wave.objects.create(rollout=rollout, index=0, label="x", soak_s=0)
        Assignment.objects.bulk_create(
            Assignment(domain=domain, action_id=number, rollout=rollout, wave=wave, device=device, bundle=bundle,
                       kind="update", content_stamp=0)
            for number, device in enumerate(devices)
        )  # fmt: skip
        yield wave
        PatchCount.objects.filter(rollout=rollout).delete()
        for rows_ in (Assignment, StatusCount, Wave):
            rows_.objects.filter(**({"wave": wave} if rows_ is not Wave else {"pk": wave.pk})).delete()
        for row in (rollout, release, bundle, *devices, model, domain):
            row.delete()


def test_writers_at_once_beside_those_who_add_up_and_recount_lose_no_count(committed):
    domain, failed = committed.rollout.domain, []
    keys = list(Assignment.objects.filter(wave=committed).values_list("pk", flat=True))

    def write(seed):
        chance = random.Random(seed)
        try:
            for _ in range(40):
                with transaction.atomic():
                    changed = Assignment.objects.filter(pk=chance.choice(keys))
                    changed.update(status=chance.choice(["running", "error", "finished"]), reason=str(chance.random()))
                    told = {"format": chance.choice(FORMATS), "trouble": chance.choice(["", "odd"])}
                    PatchTry.objects.update_or_create(assignment_id=chance.choice(keys), defaults=told)
                    transaction.set_rollback(chance.randrange(4) == 0)
                count_parts.add_up(domain=domain)
                status_counts.recount_wave(wave=committed)
                patch_counts.recount_patches(rollout=committed.rollout)
        except Exception as error:
            failed.append(error)
        finally:
            connections.close_all()

    threads = [Thread(target=write, args=(seed,)) for seed in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert failed == []
    assert kept() == counted()
    assert count_by_wave([committed.rollout])[committed.pk].total() == DEVICES
    assert kept_patches() == counted_patches()
