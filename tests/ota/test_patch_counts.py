"""How a format of patches goes in a rollout is read from counts, which equal the devices' reports.

Random histories and writers at once: ``test_status_counts``.
"""

import pytest
from django.db import connection

from devices.models import Device
from ota.models import Assignment, PatchCount, PatchTry, Rollout
from ota.planning import Thresholds, WavePlan
from ota.selectors import patches
from ota.services import count_parts, patch_counts, rollout_steps, rollouts, status_counts
from ota.services.rollout_steps import StepBudget
from tests.factories.ground import system

DEVICES = 6


@pytest.fixture
def rollout(published, hardware_model):
    """Return a rollout at some devices, of which each but the last has reported on a patch; two failed."""
    domain = published.domain
    Device.objects.bulk_create(
        Device(domain=domain, name=f"dev-{number}", hardware_model=hardware_model, state="active")
        for number in range(DEVICES)
    )
    release = published.release(published.bundle("1.0.0", 1))
    made = rollouts.create(
        actor=system(domain), name="r", release=release, waves=[WavePlan(share=1000)], thresholds=Thresholds(1, 1000)
    )
    rollouts.start(actor=system(domain), rollout=made)
    rollout_steps.continue_steps(domain=domain, budget=StepBudget(10))
    for number, one in enumerate(made.assignments.order_by("id")[: DEVICES - 1]):
        PatchTry.objects.create(assignment=one, format="zstd", trouble="odd" if number < 2 else "")
    return made


@pytest.mark.django_db
def test_how_formats_go_is_read_without_any_report_or_assignment(rollout, django_assert_num_queries):
    with django_assert_num_queries(1) as seen:
        found = patches.in_rollouts([rollout.pk, rollout.pk + 1])
    assert found == {rollout.pk: [patches.Use("zstd", 5, 2)], rollout.pk + 1: []}
    sql = seen.captured_queries[0]["sql"]
    assert "ota_patchtry" not in sql
    assert "ota_assignment" not in sql


@pytest.mark.django_db
def test_a_format_is_switched_off_by_the_report_of_the_third_failure_and_on_again_when_it_is_withdrawn(rollout):
    assert patches.switched_off(rollout.pk) == set()
    third = PatchTry.objects.filter(trouble="").first()
    PatchTry.objects.filter(pk=third.pk).update(trouble="no memory")
    assert patches.switched_off(rollout.pk) == {"zstd"}
    PatchTry.objects.filter(pk=third.pk).update(trouble="")
    assert patches.switched_off(rollout.pk) == set()


@pytest.mark.django_db
def test_reports_of_repairs_and_texts_that_change_nothing_are_not_counted(rollout):
    before = set(PatchCount.objects.values_list("pk", "devices"))
    PatchTry.objects.filter(trouble="odd").update(trouble="odder")
    last = rollout.assignments.order_by("id").last()
    Assignment.objects.filter(pk=last.pk).update(rollout=None, wave=None)
    PatchTry.objects.create(assignment=last, format="zstd")
    assert set(PatchCount.objects.values_list("pk", "devices")) == before


@pytest.mark.django_db
def test_a_report_that_moves_to_another_format_or_goes_is_counted_so(rollout):
    PatchTry.objects.filter(trouble="odd").update(format="muster-1")
    assert patches.in_rollout(rollout.pk) == [patches.Use("muster-1", 2, 2), patches.Use("zstd", 3, 0)]
    PatchTry.objects.filter(format="muster-1").delete()
    assert patches.in_rollout(rollout.pk) == [patches.Use("zstd", 3, 0)]


@pytest.mark.django_db
def test_parts_of_counts_of_patches_are_added_up(rollout):
    parts = PatchCount.objects.filter(part__gt=0).count()
    assert parts == (DEVICES - 1 if connection.vendor == "postgresql" else 0)
    count_parts.add_up(domain=rollout.domain)
    assert set(PatchCount.objects.values_list("failed", "part", "devices")) == {(True, 0, 2), (False, 0, 3)}


@pytest.mark.django_db
@pytest.mark.parametrize("wrong", [7, -7])
def test_counts_of_patches_that_somebody_has_spoilt_are_corrected(rollout, wrong):
    count_parts.add_up(domain=rollout.domain)
    PatchCount.objects.filter(failed=True).update(devices=wrong)
    PatchCount.objects.create(rollout=rollout, format="gone", failed=True, part=0, devices=wrong)
    PatchCount.objects.filter(failed=False).delete()
    assert patch_counts.recount_patches(rollout=rollout)
    assert patches.in_rollout(rollout.pk) == [patches.Use("zstd", 5, 2)]
    assert not patch_counts.recount_patches(rollout=rollout)


@pytest.mark.django_db
def test_the_job_that_counts_waves_anew_counts_patches_too(rollout):
    PatchCount.objects.all().delete()
    for _ in range(2 * Rollout.objects.get().waves.count() + 1):
        status_counts.recount_next(domain=rollout.domain)
    assert patches.in_rollout(rollout.pk) == [patches.Use("zstd", 5, 2)]
