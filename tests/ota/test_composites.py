"""Composite bundles on the server: parts that are here, for the same hardware and audience, released before the set."""

import hashlib
import io
import json

import pytest
from django.core.management import call_command

from devices.models import Twin
from devices.services import hardware
from ota.contract import composite
from ota.errors import RefusedBundleError
from ota.models import Assignment, Bundle
from ota.planning import WavePlan
from ota.selectors import fitting, parts
from ota.selectors.signed import class_objection
from ota.services import assignments, bundles, composites, downloads, offers, releases, rollouts
from pki.kernel import actor as actors
from pki.kernel.errors import ConflictError, InvalidError, NotFoundError
from tests.factories.ground import system

pytestmark = pytest.mark.django_db


class Site:
    """Two pieces of firmware for different components, and the composite of both."""

    def __init__(self, workshop):
        self.workshop, self.domain = workshop, workshop.domain

    def part(self, component, version="1.0.0", counter=1, **further):
        data = self.workshop.image(version, counter)
        return self.workshop.upload(
            data, self.workshop.manifest(data, version, counter, id=component, component=component, **further)
        )

    def upload(self, *members, change=None, **facts):
        made = composites.write_composite(bundles=members, name="site", version="1.0.0", counter=1)
        document = json.loads(made.parts)
        if change:
            change(document)
        data = json.dumps(document).encode()
        manifest = {**json.loads(made.manifest), **facts}
        manifest["files"][0] |= {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        return bundles.upload(
            actor=system(self.domain), manifest=json.dumps(manifest).encode(), files={composites.FILE: io.BytesIO(data)}
        )


@pytest.fixture
def site(published):
    return Site(published)


@pytest.fixture
def whole(site):
    """Return a composite whose parts are published."""
    members = [site.part("app"), site.part("net-core")]
    for one in members:
        site.workshop.release(one)
    return site.upload(*members)


def test_a_composite_names_its_parts(whole):
    assert [one.component for one in parts.parts_of(whole)] == ["app", "net-core"]
    assert whole.target_path == "composite/site/1.0.0/bundle.json"
    assert any(one["check"] == "parts" for one in whole.report)
    assert parts.parts_of(parts.parts_of(whole)[0]) == []


def test_the_command_writes_what_can_be_uploaded(site, tmp_path):
    members = [site.part("app"), site.part("net-core")]
    chosen = [word for one in members for word in ("--part", str(one.public_id))]
    call_command(
        "bundle", "--domain", site.domain.slug, "composite", "site", "2.0.0", "--counter", "2", *chosen, "--out", str(tmp_path / "x"),
    )  # fmt: skip
    call_command("bundle", "--domain", site.domain.slug, "upload", str(tmp_path / "x"))
    assert Bundle.objects.get(kind="composite").version == "2.0.0"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda doc: doc["parts"][0].update(digest="0" * 64), "with this digest does not exist"),
        (lambda doc: doc["parts"][0].update(version="9.9.9"), "does not exist"),
        (lambda doc: doc["parts"].pop(), "2 to 8 parts"),
        (lambda doc: doc["parts"].append(doc["parts"][0]), "Each part must be for a different component"),
        (lambda doc: doc["parts"][0].update(component="config"), "none for a composite or the configuration"),
        (lambda doc: doc["parts"][0].update(more=1), "exactly component, id, version"),
        (lambda doc: doc.update(more=1), "parts.json must have"),
        (lambda doc: doc.update(version="1.0.1"), "version"),
    ],
)
def test_parts_that_cannot_be_meant_are_refused(site, change, words):
    members = [site.part("app"), site.part("net-core")]
    with pytest.raises(InvalidError, match=words):
        site.upload(*members, change=change)
    assert not Bundle.objects.filter(kind="composite").exists()


def test_parts_for_other_hardware_or_another_audience_are_refused(site):
    other = hardware.register_model(actor=system(site.domain), name="other", vendor="acme.example")
    elsewhere = {"vendor_id": str(other.vendor_id), "class_id": str(other.class_id), "name": "other"}
    own = site.workshop.manifest(b"x")["hw"]
    app, both = site.part("app"), site.part("net-core", hw=[*own, elsewhere])
    with pytest.raises(InvalidError, match="not for the hardware other"):
        site.upload(app, both, hw=[*own, elsewhere])
    with pytest.raises(InvalidError, match="not signed for lab"):
        site.upload(app, both, audience=["lab", "production"])
    alone = site.part("radio", hw=[elsewhere])
    with pytest.raises(RefusedBundleError, match="share no hardware"):
        site.upload(app, alone)


def test_parts_that_cannot_run_beside_one_another_are_refused(site):
    app = site.part("app")
    needs = site.part("net-core", requires=[{"component": "app", "min_counter": 2}])
    with pytest.raises(RefusedBundleError, match="requires another version of app than this composite contains"):
        site.upload(app, needs)


def test_a_kind_and_its_component_belong_together(site):
    app, net = site.part("app"), site.part("net-core")
    with pytest.raises(InvalidError, match="a composite the component composite"):
        site.upload(app, net, component="app")
    data = site.workshop.image()
    with pytest.raises(InvalidError, match="a composite the component composite"):
        site.workshop.upload(data, site.workshop.manifest(data, component=composite.COMPONENT))


def test_a_set_is_released_after_its_parts_and_officers_read_what_it_brings(site):
    members = [site.part("app"), site.part("net-core")]
    whole = site.upload(*members)
    with pytest.raises(RefusedBundleError, match="is not published"):
        releases.prepare_release(actor=system(site.domain), bundle=whole)
    for one in members:
        site.workshop.release(one)
    release = site.workshop.release(whole)
    told = site.workshop.told(release.statement)
    assert [line for line in told if members[1].digest in line and "TOGETHER" in line]


def test_a_device_may_fetch_the_files_of_all_parts_and_of_nothing_else(site, whole, enrol):
    one = enrol("dev-1").device
    who = actors.device_actor(site.domain.slug, one.key)
    stranger = site.part("radio")
    made = rollouts.create(
        actor=system(site.domain), name="r", release=site.workshop.release(whole), waves=[WavePlan(share=1000)]
    )
    rollouts.start(actor=system(site.domain), rollout=made)
    rollouts.tick(domain=site.domain)
    for bundle in parts.bundle_and_parts(whole):
        digest = bundle.image.sha256
        assert downloads.by_digest(actor=who, device=one, sha256=digest).size == bundle.image.size
    with pytest.raises(NotFoundError):
        downloads.by_digest(actor=who, device=one, sha256=stranger.image.sha256)
    assert downloads.current_image(actor=who, device=one).sha256 == whole.image.sha256
    with pytest.raises(ConflictError, match="is unknown"):
        assignments.roll_device_back(actor=system(site.domain), device=one, reason="x")


def test_an_open_update_of_a_part_gives_way(site, whole, enrol):
    enrol("dev-1")
    newer = site.workshop.release(site.part("app", "1.1.0", 2))
    for release in (newer, site.workshop.release(whole)):
        made = rollouts.create(
            actor=system(site.domain), name=str(release.pk), release=release, waves=[WavePlan(share=1000)]
        )
        rollouts.start(actor=system(site.domain), rollout=made)
        rollouts.tick(domain=site.domain)
    assert [one.status for one in Assignment.objects.order_by("id")] == ["canceled", "scheduled"]


def test_an_open_set_gives_way_to_a_newer_part(site, whole, enrol):
    enrol("dev-1")
    for release in (site.workshop.release(whole), site.workshop.release(site.part("app", "1.1.0", 2))):
        started(site, release)
    assert [one.status for one in Assignment.objects.order_by("id")] == ["canceled", "scheduled"]


def started(site, release):
    made = rollouts.create(
        actor=system(site.domain), name=str(release.pk), release=release, waves=[WavePlan(share=1000)]
    )
    rollouts.start(actor=system(site.domain), rollout=made)
    rollouts.tick(domain=site.domain)
    made.refresh_from_db()
    return made


def runs(device, *members):
    """Let a device say what it runs."""
    told = {
        one.component: {"sha256": one.image.sha256, "version": one.version, "counter": one.security_counter}
        for one in members
    }
    Twin.objects.filter(device=device).update(reported={"components": told})


def test_a_set_counts_as_running_only_while_all_its_parts_do(site, whole, enrol):
    one, release = enrol("dev-1").device, site.workshop.release(whole)
    runs(one, *parts.bundle_and_parts(whole))
    with pytest.raises(ConflictError, match="it already runs this version"):
        started(site, release)
    newer = site.part("app", "1.1.0", 2)
    runs(one, whole, newer, parts.parts_of(whole)[1])
    made = started(site, release)
    assert made.assignments.count() == 1
    twin = Twin.objects.get(device=one)
    assert {name: wish["version"] for name, wish in twin.desired["components"].items()} == {
        "composite": "1.0.0", "app": "1.0.0", "net-core": "1.0.0",
    }  # fmt: skip


def test_a_device_whose_own_client_updates_it_is_given_no_set(site, whole, enrol):
    one, release = enrol("dev-1").device, site.workshop.release(whole)
    Twin.objects.filter(device=one).update(reported={"protection": "vendor"})
    with pytest.raises(ConflictError, match="cannot install composite bundles"):
        started(site, release)


def test_a_device_that_lacks_what_must_run_beside_it_is_left_out(site, enrol):
    one = enrol("dev-1").device
    needs = site.workshop.release(site.part("net-core", requires=[{"component": "app", "min_counter": 3}]))
    Twin.objects.filter(device=one).update(reported={"components": {"app": {"sha256": "00", "counter": 2}}})
    with pytest.raises(ConflictError, match="it must first install app with a security counter of at least 3"):
        started(site, needs)


def test_a_withdrawn_part_stops_the_set_at_once(site, whole, enrol):
    one = enrol("dev-1").device
    made = started(site, site.workshop.release(whole))
    who = actors.device_actor(site.domain.slug, one.key)
    assert offers.poll_work(actor=who, device=one).assignment is not None
    releases.withdraw(actor=system(site.domain), release=parts.parts_of(whole)[0].release, reason="bad")
    assert offers.poll_work(actor=who, device=one).assignment is None
    rollouts.tick(domain=site.domain)
    made.refresh_from_db()
    assert (made.state, "its part app 1.0.0 (app) was withdrawn" in made.hold_reason) == ("held", True)


def test_what_became_of_a_part_becomes_of_the_set(site, whole, hardware_model):
    site.workshop.release(whole)
    assert class_objection(whole, str(hardware_model.class_id)) is None
    assert fitting.incompatibility_reasons(whole, hardware_model) == []
    gone = parts.parts_of(whole)[1].release
    releases.withdraw(actor=system(site.domain), release=gone, reason="broken radio")
    site.workshop.publish(gone.withdrawal)
    assert "in its part" in class_objection(whole, str(hardware_model.class_id)).sentence
    assert "broken radio" in class_objection(whole, str(hardware_model.class_id)).sentence
