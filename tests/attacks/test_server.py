"""Rows that are the server's: one person is not two, a row is no signature, and no key of a bin lies here."""

import pytest
from tuf.api.metadata import Root, Targets

from ota.errors import MetadataError
from ota.selectors import signed
from ota.services import director, metadata, releases, statements
from pki.kernel import actor as actors
from pki.services import signing
from tests.attacks.table import attack
from tests.factories.assignments import offer_assignment, schedule_assignment
from tests.factories.ground import system

pytestmark = pytest.mark.django_db


@attack("B8")
def test_one_person_twice(published):
    who = system(published.domain)
    statement = releases.prepare_release(actor=who, bundle=published.bundle()).statement
    for _ in range(2):
        statements.submit(actor=who, statement=statement, signature=published.sign(statement, "anna"))
    with pytest.raises(MetadataError, match="two officers"):
        statements.publish(actor=who, statement=statement)


@attack("B8", "U1")
def test_rows_that_were_set_by_hand(published, enrol):
    from ota.models import Rollout, Statement, Wave

    one, bundle = enrol("dev-1"), published.bundle()
    release = releases.prepare_release(actor=system(published.domain), bundle=bundle)
    at = "2026-01-01T00:00Z"
    type(release).objects.filter(pk=release.pk).update(state="published", published_at=at)
    Statement.objects.filter(pk=release.statement.pk).update(state="published", published_at=at)
    rollout = Rollout.objects.create(
        domain=published.domain, name="evil", release=release, success_permille=1, error_permille=1000, state="running"
    )
    wave = Wave.objects.create(rollout=rollout, index=0, label="all", state="open", soak_s=0)
    made = schedule_assignment(rollout=rollout, wave=wave, device=one.device, bundle=bundle)
    offer_assignment(actor=system(published.domain), assignment=made)
    document = director.director_document(
        actor=actors.device_actor(published.domain.slug, one.device.key), device=one.device, nonce=b"n" * 16
    )
    assert b'"assignments":[]' in document
    assert "have not signed it" in signed.class_objection(bundle, str(one.device.hardware_model.class_id)).sentence


@attack("T16")
def test_no_key_of_targets_or_bins_lies_on_the_server(published):
    store = metadata.published_repository(published.domain.slug)
    root, targets = store.root().signed, store.targets().signed
    line = signing.signer_client("admin")
    ours = {
        keyid
        for name in ("snapshot", "timestamp", "director", "ledger")
        for keyid in line.every_key(published.domain.slug, name)
    }
    people = {
        *root.roles[Targets.type].keyids,
        *root.roles[Root.type].keyids,
        *targets.delegations.succinct_roles.keyids,
    }
    assert ours
    assert not ours & people
    assert targets.delegations.succinct_roles.threshold >= 2
