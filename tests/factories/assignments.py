"""One device's part of a rollout, without the waves and batches that give thousands of devices theirs."""

from django.db import transaction

from ota.models import Assignment
from ota.selectors.running import RunningBundles
from ota.services import assignment_batches
from pki.kernel import clock
from pki.services import numbers


def schedule_assignment(*, rollout, wave, device, bundle):
    """Return an assignment that waits for its wave."""
    return Assignment.objects.create(
        domain=rollout.domain,
        action_id=numbers.following_small(domain=rollout.domain, name="ddi-action"),
        rollout=rollout,
        wave=wave,
        device=device,
        bundle=bundle,
        kind=Assignment.Kind.UPDATE,
        status=Assignment.Status.WAITING,
        content_stamp=clock.unix() & 0x7FFF_FFFF,
    )


def offer_assignment(*, actor, assignment):
    """Offer a waiting assignment to its device; an older open one for the same component gives way."""
    bundle = assignment.bundle
    running = RunningBundles(assignment.domain_id, {bundle.component})
    with transaction.atomic():
        runs = running.of(assignment.device.twin.reported, bundle.component)
        assignment_batches.offer_batch(actor, bundle, {assignment.pk: runs})
    assignment.refresh_from_db()
