"""Versions and security counters that go back: they count from publication, and are acknowledged or refused."""

import io

import pytest
from django.conf import settings
from django.db import connection
from django.test.utils import CaptureQueriesContext

from ota.errors import RefusedBundleError
from ota.models import Bundle, Release, Statement
from ota.planning import WavePlan
from ota.services import bundles, composites, releases, removals, rollouts, statements
from pki.kernel.errors import ConflictError, DeniedError
from pki.models import LedgerEntry
from tests.factories.ground import person, system
from tests.regressions import regression

pytestmark = pytest.mark.django_db


def uploaded(workshop, version, counter, *acknowledges):
    data = workshop.image(version, counter)
    further = {"acknowledges": list(acknowledges)} if acknowledges else {}
    return workshop.upload(data, workshop.manifest(data, version, counter, **further))


@regression("V7", "an older version with a higher counter, at upload")
def test_a_version_that_goes_back_is_acknowledged_and_shown_to_officers(published):
    published.release(uploaded(published, "2.0.0", 5))
    with pytest.raises(RefusedBundleError, match=r"version goes back from 2\.0\.0 to 1\.9\.0"):
        uploaded(published, "1.9.0", 6)
    bundle = uploaded(published, "1.9.0", 6, "version-goes-back")
    assert bundle.facts["order"] == ["version goes back from 2.0.0 to 1.9.0"]
    made = releases.prepare_release(actor=system(published.domain), bundle=bundle)
    assert "version goes back from 2.0.0 to 1.9.0" in made.statement.summary
    assert any("ACKNOWLEDGES version-goes-back" in line for line in published.told(made.statement))
    published.publish(made.statement)


@regression("V7", "two bundles prepared before either was published")
def test_what_was_published_meanwhile_counts(published):
    older, newer = uploaded(published, "1.9.0", 6), uploaded(published, "2.0.0", 5)
    waiting = releases.prepare_release(actor=system(published.domain), bundle=older).statement
    published.release(newer)
    with pytest.raises(RefusedBundleError, match="version goes back"):
        releases.prepare_release(actor=system(published.domain), bundle=older)
    with pytest.raises(RefusedBundleError, match="version goes back"):
        statements.publish(actor=system(published.domain), statement=waiting)


@regression("V7", "a version and a counter that go back at once")
def test_all_that_is_missing_is_said_at_once(published):
    published.release(uploaded(published, "2.0.0", 5))
    with pytest.raises(RefusedBundleError, match=r"version goes back .* and the security counter goes back") as refused:
        uploaded(published, "1.9.0", 4)
    assert "'version-goes-back' and 'counter-goes-back'" in refused.value.detail


@regression("V7", "a publication that was interrupted, after another one has gone beyond it")
def test_what_devices_are_given_already_is_published_to_its_end(published):
    older, newer = uploaded(published, "1.9.0", 6), uploaded(published, "2.0.0", 7)
    waiting = releases.prepare_release(actor=system(published.domain), bundle=older).statement
    published.publish(waiting)
    published.release(newer)
    Statement.objects.filter(pk=waiting.pk).update(state=Statement.State.PREPARED)
    Release.objects.filter(bundle=older).update(state=Release.State.PREPARED, published_at=None)
    assert releases.prepare_release(actor=system(published.domain), bundle=older).state == Release.State.PUBLISHED


def test_an_upload_that_looks_older_than_another_one_says_so(workshop):
    workshop.bundle("1.0.0", 1)
    workshop.bundle("2.0.0", 1)
    assert workshop.bundle("1.9.0", 2).facts["order"] == [
        "version looks older than 2.0.0, which was uploaded before it"
    ]


@regression("C9", "a counter typed 9000 in an upload that was never released")
def test_a_counter_that_was_only_uploaded_blocks_nothing(published):
    uploaded(published, "1.0.0", 9000)
    published.release(uploaded(published, "1.0.1", 2))
    assert "order" not in uploaded(published, "1.0.2", 3).facts


@regression("C9", "an older branch after a newer one was published")
def test_an_older_branch_is_released_deliberately(published):
    published.release(uploaded(published, "2.0.0", 7))
    with pytest.raises(RefusedBundleError, match="security counter goes back from 7 to 4"):
        uploaded(published, "2.1.0", 4)
    branch = uploaded(published, "1.9.5", 4, "counter-goes-back", "version-goes-back")
    made = published.release(branch)
    assert "security counter goes back from 7 to 4" in made.statement.summary
    assert made.state == "published"


@regression("C9", "an older branch below the floor that officers signed, acknowledged or not")
def test_no_acknowledgement_lifts_the_floor(published):
    published.release(uploaded(published, "2.0.0", 7), raise_floor=True)
    with pytest.raises(RefusedBundleError, match="below the floor 7"):
        uploaded(published, "1.9.5", 4, "counter-goes-back", "version-goes-back")
    assert Bundle.objects.filter(domain=published.domain).count() == 1


def blobs():
    return {one.name for one in (settings.FLEET_DIR / "blobs").rglob("*") if one.is_file()}


@regression("C9", "an upload that was typed wrong, deleted with its prepared release; the version is free again")
def test_a_bundle_that_was_never_published_is_deleted_with_its_bytes(published):
    before = blobs()
    bundle = uploaded(published, "1.0.0", 9000)
    statement = releases.prepare_release(actor=system(published.domain), bundle=bundle).statement
    signature = published.sign(statement, "anna")
    statements.submit(actor=system(published.domain), statement=statement, signature=signature)
    with pytest.raises(DeniedError):
        removals.delete_bundle(actor=person(published.domain, "viewer"), bundle=bundle)
    with pytest.raises(DeniedError):  # an officer has signed something about it
        removals.delete_bundle(actor=person(published.domain, "operator"), bundle=bundle)
    removals.delete_bundle(actor=person(published.domain, "release-officer"), bundle=bundle)
    assert not Bundle.objects.filter(domain=published.domain).exists()
    assert blobs() == before
    [entry] = LedgerEntry.objects.filter(domain=published.domain, action="bundle.deleted")
    assert entry.detail["digest"] == bundle.digest
    published.release(uploaded(published, "1.0.0", 1))


def test_whether_a_prepared_bundle_may_be_deleted_takes_one_question_of_its_release(published):
    bundle = uploaded(published, "1.0.0", 1)
    releases.prepare_release(actor=system(published.domain), bundle=bundle)
    with CaptureQueriesContext(connection) as asked:
        assert removals.may_be_deleted(actor=person(published.domain, "release-officer"), bundle=bundle)
    # its release, an assignment, a composite
    assert len(asked) == 3, [one["sql"][:80] for one in asked]


@regression("C9", "a bundle that officers published, withdrew, or put into a composite is not deleted")
def test_a_bundle_that_was_published_stays(published):
    release = published.release(uploaded(published, "1.0.0", 1))
    with pytest.raises(ConflictError, match="was published"):
        removals.delete_bundle(actor=system(published.domain), bundle=release.bundle)
    withdrawn = releases.withdraw(actor=system(published.domain), release=release, reason="bad")
    published.publish(withdrawn.withdrawal)
    type(release).objects.filter(pk=release.pk).update(published_at=None)  # a row says nothing against the officers
    with pytest.raises(ConflictError, match="was published"):
        removals.delete_bundle(actor=system(published.domain), bundle=release.bundle)


def _assigned(published, enrol):
    """Return a bundle that a rollout names without any release of it, as after a restore of older rows."""
    release = published.release(uploaded(published, "1.0.0", 1))
    enrol("dev-1")
    rollout = rollouts.create(
        actor=system(published.domain), name="spring", release=release, waves=[WavePlan(share=1000)]
    )
    other = uploaded(published, "2.0.0", 2)
    rollout.assignments.update(bundle=other)
    return other, rollout


@regression("C9", "a bundle that a rollout names, and who may delete one")
def test_what_hinders_a_deletion_is_named_with_what_to_do(published, enrol):
    bundle, rollout = _assigned(published, enrol)
    with pytest.raises(ConflictError, match=rf"the rollout 'spring' \({rollout.public_id}\) names it.*a new version"):
        removals.delete_bundle(actor=system(published.domain), bundle=bundle)
    rollout.assignments.update(rollout=None, wave=None)
    with pytest.raises(ConflictError, match=r"the action [0-9]+ of the device dev-1 names it.*a new version"):
        removals.delete_bundle(actor=system(published.domain), bundle=bundle)


@regression("C9", "a composite names a bundle: asked of the database, whichever place it has in the composite")
def test_a_part_of_a_composite_is_not_deleted(published):
    def part(component):
        data = published.image("1.0.0", 1)
        return published.upload(data, published.manifest(data, id=component, component=component))

    members = [part(name) for name in ("app", "net-core", "radio")]
    made = composites.write_composite(bundles=members, name="site", version="1.0.0", counter=1)
    files = {composites.FILE: io.BytesIO(made.parts)}
    bundles.upload(actor=system(published.domain), manifest=made.manifest, files=files)
    for one in members:
        with pytest.raises(ConflictError, match=r"it is a part of site 1\.0\.0 \(composite\)\. Delete that first"):
            removals.delete_bundle(actor=system(published.domain), bundle=one)
