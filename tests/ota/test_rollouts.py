"""From a published release to devices: waves, holds, reports, feedback, repair."""

from datetime import timedelta

import cbor2
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from devices.errors import ReplayError
from devices.models import Sample
from devices.services import presence, quarantine, registry
from fleet.guard import reactions
from ota.eligibility import ObstacleKind
from ota.models import Assignment, AssignmentEvent, Bundle, Rollout
from ota.planning import Thresholds, WavePlan
from ota.selectors import rollouts as rows
from ota.selectors.eligibility import withheld_actions
from ota.services import assignments, director, downloads, offers, releases, reports, rollouts
from ota.services.assignments import Feedback
from pki.kernel import actor as actors
from pki.kernel import clock
from pki.kernel.errors import ConflictError, DeniedError, InvalidError, NotFoundError
from tests.factories.ground import person, system
from tests.regressions import regression

pytestmark = pytest.mark.django_db(databases=["default", "telemetry"])
Status = Assignment.Status


class Stage:
    """A domain with devices that run version 1 and a rollout of version 2."""

    def __init__(self, published, enrol, devices=4, soak=0):
        self.domain = published.domain
        self.old = published.bundle("1.0.0", 1)
        published.release(self.old)
        self.release = published.release(published.bundle("2.0.0", 2))
        self.devices = [enrol(f"dev-{n}") for n in range(devices)]
        self.sequence = 0
        for one in self.devices:
            self.report(one, running=self.old)
        waves = [WavePlan(count=1, soak_s=soak), WavePlan(share=1000, soak_s=soak)]
        self.rollout = rollouts.create(
            actor=person(self.domain, "operator"),
            name="two",
            release=self.release,
            waves=waves,
            thresholds=Thresholds(700, 250),
        )

    def actor(self, one):
        return actors.device_actor(self.domain.slug, one.device.key)

    def report(self, one, running, action=None, state="", reason="", key=None):
        self.sequence += 1
        image = running.image
        parts = {"version": running.version, "sha256": image.sha256, "counter": 1, "confirmed": True}
        body = {"device": one.device.key, "sequence": self.sequence, "at": 0, "components": {"app": parts}}
        if action is not None:
            body |= {"action": action, "state": state, "reason": reason}
        payload = cbor2.dumps(body)
        self.send(one, payload, key or one.key)

    def send(self, one, payload, key):
        reports.receive_report(
            actor=self.actor(one),
            device=one.device,
            payload=payload,
            signature=key.sign(payload, ec.ECDSA(hashes.SHA256())),
            certificate=bytes(one.certificate.der),
        )

    def tick(self, times=1):
        for _ in range(times):
            rollouts.tick(domain=self.domain)

    def offered(self):
        for one in self.devices:
            one.device.refresh_from_db()
        found = [(one, offers.current_offer(one.device)) for one in self.devices]
        return [(one, action) for one, action in found if action]

    def finish(self, one, action):
        self.report(one, self.release.bundle, action.action_id, "confirmed")

    def state(self):
        return Rollout.objects.get(pk=self.rollout.pk).state

    def start(self):
        rollouts.start(actor=person(self.domain, "operator"), rollout=self.rollout)
        self.tick()


@pytest.fixture
def stage(published, enrol):
    return Stage(published, enrol)


def test_a_wave_opens_the_next_only_when_it_is_healthy(stage):
    stage.start()
    assert len(stage.offered()) == 1
    stage.tick(3)
    assert len(stage.offered()) == 1
    stage.finish(*stage.offered()[0])
    stage.tick(2)
    assert len(stage.offered()) == 3
    for one, action in stage.offered():
        stage.finish(one, action)
    stage.tick(2)
    assert stage.state() == "finished"


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ({"version": "99.9.9-patched", "counter": 77}, {"version": "2.0.0", "counter": 2, "signed": True}),
        ({"version": ""}, {"version": "2.0.0", "counter": 2, "signed": True}),
        ({"sha256": "ab" * 32, "version": "9"}, {"version": "9", "counter": 1, "signed": False}),
    ],
)
@regression("R12", "a device reports another version or counter than officers signed for its digest")
def test_a_reported_image_is_shown_as_officers_signed_it(stage, said, shown):
    one, image = stage.devices[0], stage.release.bundle.image
    parts = {"version": "2.0.0", "sha256": image.sha256, "counter": 1, "confirmed": True, **said}
    body = {"device": one.device.key, "sequence": 100, "at": 0, "components": {"app": parts, "boot": parts}}
    payload = cbor2.dumps(body)
    stage.send(one, payload, one.key)
    one.device.twin.refresh_from_db()
    known = one.device.twin.reported["components"]
    assert {name: known["app"][name] for name in shown} == shown
    assert (known["boot"]["version"], known["boot"]["signed"]) == (parts["version"], False), "it is no image of boot"


@regression("R12", "rows of a bundle were edited: they say nothing about what a device runs")
def test_a_reported_image_is_not_described_by_rows(stage):
    one, bundle = stage.devices[0], stage.release.bundle
    Bundle.objects.filter(pk=bundle.pk).update(version="99.9.9-patched", security_counter=99)
    stage.report(one, running=bundle)
    one.device.twin.refresh_from_db()
    assert one.device.twin.reported["components"]["app"]["signed"] is False


def test_soaking_counts_only_while_somebody_looks(published, enrol):
    stage = Stage(published, enrol, devices=2, soak=60)
    begin = clock.now()
    with clock.frozen(begin):
        stage.start()
        stage.finish(*stage.offered()[0])
        stage.tick()
    with clock.frozen(begin + timedelta(hours=5)):
        stage.tick(2)
        assert not stage.offered()
    for second in range(1, 65, 4):
        with clock.frozen(begin + timedelta(hours=5, seconds=second)):
            stage.tick()
    with clock.frozen(begin + timedelta(hours=5, seconds=66)):
        stage.tick(2)
        assert len(stage.offered()) == 1


def test_failures_above_the_budget_hold_the_rollout_with_its_reason(stage):
    stage.start()
    one, action = stage.offered()[0]
    stage.report(one, stage.old, action.action_id, "failed", "self-test: no")
    stage.tick()
    held = Rollout.objects.get(pk=stage.rollout.pk)
    assert held.state == "held"
    assert "needed" in held.hold_reason
    assert rows.rollout_progress(held).causes == [("self-test: no", 1)]


def test_a_held_rollout_offers_nothing_new_and_lets_what_runs_go_on(stage):
    stage.start()
    one, action = stage.offered()[0]
    rollouts.hold(actor=system(stage.domain), rollout=Rollout.objects.get(pk=stage.rollout.pk), reason="look")
    assert not stage.offered()
    rollouts.resume(actor=person(stage.domain, "operator"), rollout=stage.rollout)
    stage.report(one, stage.old, action.action_id, "downloading")
    rollouts.hold(actor=system(stage.domain), rollout=Rollout.objects.get(pk=stage.rollout.pk), reason="look")
    assert len(stage.offered()) == 1


def test_a_report_by_another_key_or_replayed_is_refused(stage):
    one, two = stage.devices[:2]
    with pytest.raises(DeniedError, match="not signed"):
        stage.report(one, stage.old, key=two.key)
    payload = cbor2.dumps({"device": one.device.key, "sequence": 900, "at": 0, "components": {}})
    stage.send(one, payload, one.key)
    with pytest.raises(ReplayError):
        stage.send(one, payload, one.key)
    with pytest.raises(DeniedError, match="another device"):
        stage.send(two, payload, two.key)


@pytest.mark.parametrize(
    "body",
    [b"", b"\xff", cbor2.dumps([]), cbor2.dumps({"device": "x"}), cbor2.dumps({"sequence": 0}), b"\x9f" * 50]
    + [cbor2.dumps({"device": "x", "sequence": 1, "components": {"App": {}}})]
    + [cbor2.dumps({"device": "x", "sequence": 1, "components": {}, "action": 1, "state": "danced"})]
    + [cbor2.dumps({"device": "x", "sequence": 1, "components": {}, "at": bad}) for bad in ("now", 1.5, 2**70, True)],
)
def test_malformed_reports_are_refused_by_name(body):
    with pytest.raises(InvalidError):
        reports.parse_report(body)


def test_feedback_after_the_end_changes_nothing(stage):
    stage.start()
    one, action = stage.offered()[0]

    def say(status, *texts):
        said = Feedback(status, texts, "broken" if status == Status.ERROR else "")
        assignments.store_feedback(actor=stage.actor(one), device=one.device, action_id=action.action_id, said=said)

    say(Status.RUNNING, "a")
    say(Status.ERROR, "b")
    say(Status.RUNNING, "late")
    say(Status.FINISHED, "second verdict")
    action.refresh_from_db()
    assert (action.status, action.reason) == ("error", "broken")
    assert [event.text for event in action.events.all() if event.text] == ["a", "b", "broken", "late", "second verdict"]


@pytest.mark.parametrize(
    ("ends", "expected"),
    [(Status.FINISHED, {"install_duration_s": 90}), (Status.ERROR, {"install_failures": 1})],
)
def test_how_long_an_installation_took_or_that_it_failed_is_noted_of_the_device_once(stage, ends, expected):
    stage.start()
    one, action = stage.offered()[0]
    for status in (Status.DOWNLOAD, ends, ends):
        said = Feedback(status, ["so"])
        assignments.store_feedback(actor=stage.actor(one), device=one.device, action_id=action.action_id, said=said)
        AssignmentEvent.objects.filter(assignment=action).update(at=clock.now() - timedelta(seconds=90))
    presence.flush_presence()
    found = Sample.objects.filter(device_id=one.device.pk, metric__startswith="install_")
    assert {row.metric: round(row.value) for row in found} == expected


def test_the_clock_of_a_device_is_compared_when_it_reports(stage):
    one = stage.devices[0]
    stage.send(
        one,
        cbor2.dumps({"device": one.device.key, "sequence": 900, "at": clock.unix() + 40, "components": {}}),
        one.key,
    )
    presence.flush_presence()
    [row] = Sample.objects.filter(metric="clock_skew_s", device_id=one.device.pk)
    assert 38 <= row.value <= 41


def test_feedback_on_a_foreign_action_is_not_found(stage):
    stage.start()
    _, action = stage.offered()[0]
    other = next(one for one in stage.devices if one.device.pk != action.device_id)
    said = Feedback(Status.FINISHED)
    with pytest.raises(NotFoundError):
        assignments.store_feedback(actor=stage.actor(other), device=other.device, action_id=action.action_id, said=said)


def test_only_files_of_the_own_open_action_can_be_fetched(stage):
    stage.start()
    one, action = stage.offered()[0]
    sha256 = action.bundle.image.sha256
    assert downloads.by_digest(actor=stage.actor(one), device=one.device, sha256=sha256).size > 0
    other = next(dev for dev in stage.devices if dev is not one)
    with pytest.raises(NotFoundError):
        downloads.by_digest(actor=stage.actor(other), device=other.device, sha256=sha256)
    stage.finish(one, action)
    with pytest.raises(NotFoundError):
        downloads.by_digest(actor=stage.actor(one), device=one.device, sha256=sha256)


def test_the_director_signs_for_the_nonce_and_only_published_releases(stage):
    from ota.services import releases

    stage.start()
    one, _ = stage.offered()[0]
    answer = director.director_document(actor=stage.actor(one), device=one.device, nonce=b"n" * 16)
    assert b"6e6e6e6e" in answer
    assert b'"target":"app/app/2.0.0/bundle.json"' in answer
    with pytest.raises(InvalidError):
        director.director_document(actor=stage.actor(one), device=one.device, nonce=b"short")
    releases.withdraw(actor=system(stage.domain), release=stage.release, reason="bad")
    assert b'"assignments":[]' in director.director_document(actor=stage.actor(one), device=one.device, nonce=b"n" * 16)


def test_a_repair_sends_back_to_what_ran_and_counts_as_an_error(stage):
    stage.start()
    one, action = stage.offered()[0]
    stage.finish(one, action)
    quarantine.quarantine_device(actor=system(stage.domain), device=one.device, reason="odd")
    back = assignments.roll_device_back(actor=system(stage.domain), device=one.device, reason="odd")
    assert back.bundle_id == stage.old.pk
    one.device.refresh_from_db()
    assert offers.current_offer(one.device).pk == back.pk
    action.refresh_from_db()
    assert action.status == "error"


def test_a_quarantined_device_is_offered_no_update(stage):
    stage.start()
    one, _ = stage.offered()[0]
    quarantine.quarantine_device(actor=system(stage.domain), device=one.device, reason="odd")
    one.device.refresh_from_db()
    assert offers.current_offer(one.device) is None


def test_what_a_device_is_not_offered_is_shown_with_the_reason(stage):
    stage.start()
    one, assignment = stage.offered()[0]
    device = one.device
    assert withheld_actions(device, rows.assignments_of(device)) == []
    changes = {
        ObstacleKind.ROLLOUT_NOT_RUNNING: lambda: rollouts.pause(
            actor=person(stage.domain, "operator"), rollout=stage.rollout
        ),
        ObstacleKind.QUARANTINED: lambda: quarantine.quarantine_device(
            actor=system(stage.domain), device=device, reason="odd"
        ),
        ObstacleKind.RELEASE_WITHDRAWN: lambda: releases.withdraw(
            actor=person(stage.domain, "release-officer"), release=stage.release, reason="broken"
        ),
    }
    for kind, change in changes.items():
        change()
        device.refresh_from_db()
        [(action, why)] = withheld_actions(device, rows.assignments_of(device))
        assert (action.pk, why.kind, offers.current_offer(device)) == (assignment.pk, kind, None)


def test_an_incident_is_contained_and_healed(stage, settings):
    from devices.models import Device, Incident
    from devices.services import incidents

    settings.FLEET_GUARD_AUTOMATIC = "corroborated"
    stage.start()
    one, action = stage.offered()[0]
    stage.finish(one, action)
    facts = {"layer": "corroborated", "score": 12, "text": "talks too much", "metrics": []}
    opened = incidents.raise_for(actor=system(stage.domain), device=one.device, severity="high", explanation=facts)
    reactions.incident_opened(incident=opened, domain=stage.domain.slug)
    assert Device.objects.get(pk=one.device.pk).quarantined
    assert stage.state() == "held"
    back = Assignment.objects.get(device=one.device, kind="repair")
    stage.report(one, stage.old, back.action_id, "confirmed")
    assert [incident.pk for incident in reactions.release_repaired(domain=stage.domain)] == [opened.pk]
    assert not Device.objects.get(pk=one.device.pk).quarantined
    assert stage.state() == "running"
    assert Incident.objects.get(pk=opened.pk).verdict == "healed"


def test_the_guard_only_proposes_what_the_setting_does_not_allow(stage, settings):
    from devices.services import incidents

    settings.FLEET_GUARD_AUTOMATIC = "invariant"
    one = stage.devices[0]
    facts = {"layer": "corroborated", "score": 12, "text": "x", "metrics": []}
    opened = incidents.raise_for(actor=system(stage.domain), device=one.device, severity="high", explanation=facts)
    reactions.incident_opened(incident=opened, domain=stage.domain.slug)
    opened.refresh_from_db()
    assert "proposed" in opened.reaction
    one.device.refresh_from_db()
    assert not one.device.quarantined


def test_aborting_cancels_what_is_open(stage):
    stage.start()
    rollouts.abort(actor=person(stage.domain, "operator"), rollout=stage.rollout)
    assert not stage.offered()
    with pytest.raises(ConflictError):
        rollouts.resume(actor=person(stage.domain, "operator"), rollout=stage.rollout)


def test_a_viewer_starts_nothing(stage):
    with pytest.raises(DeniedError):
        rollouts.start(actor=person(stage.domain, "viewer"), rollout=stage.rollout)


def test_another_domain_sees_nothing_of_it(stage):
    with pytest.raises(NotFoundError):
        rows.get_rollout(actor=actors.system_actor("another", "test"), public_id=stage.rollout.public_id)


def test_whom_a_bundle_is_not_signed_for_is_left_out_and_named(published, enrol):
    stage = Stage(published, enrol)
    operator = person(stage.domain, "operator")
    registry.use_as(actor=operator, device=stage.devices[0].device, audience="lab")
    waves = [WavePlan(share=1000, soak_s=0)]
    made = rollouts.create(
        actor=operator, name="three", release=stage.release, waves=waves, thresholds=Thresholds(700, 250)
    )
    made.refresh_from_db()
    [(reason, who)] = made.excluded.items()
    assert (reason, who["code"]) == ("the bundle is signed for production only", ObstacleKind.OTHER_AUDIENCE)
    assert who["devices"] == [stage.devices[0].device.name]


def test_an_audience_is_one_of_three_and_an_operators_to_say(published, enrol):
    stage = Stage(published, enrol, devices=2)
    device = stage.devices[0].device
    with pytest.raises(InvalidError, match="lab, canary, production"):
        registry.use_as(actor=person(stage.domain, "operator"), device=device, audience="everybody")
    with pytest.raises(DeniedError):
        registry.use_as(actor=person(stage.domain, "viewer"), device=device, audience="lab")
    with pytest.raises(DeniedError):
        registry.use_as(actor=stage.actor(stage.devices[0]), device=device, audience="lab")


def test_a_withdrawn_release_does_not_stand_in_the_way_of_another_component(stage, published):
    stage.start()
    one, first = stage.offered()[0]
    data = published.image("5.0.0", 5)
    other = published.upload(data, published.manifest(data, "5.0.0", 5, id="boot", component="boot"))
    rollout = rollouts.create(
        actor=system(stage.domain), name="boot", release=published.release(other), waves=[WavePlan(share=1000)],
        thresholds=Thresholds(700, 250),
    )  # fmt: skip
    rollouts.start(actor=system(stage.domain), rollout=rollout)
    rollouts.tick(domain=stage.domain)
    assert offers.current_offer(one.device).pk == first.pk
    releases.withdraw(actor=system(stage.domain), release=stage.release, reason="bad")
    assert offers.current_offer(one.device).bundle.component == "boot"


def test_no_offer_is_refused_for_good_because_the_server_was_down(stage, monkeypatch):
    """Its timestamp expired meanwhile: who follows the update metadata is offered nothing while that is so."""
    stage.start()
    ((held, one),) = stage.offered()
    device = held.device
    who, later = actors.device_actor(stage.domain.slug, device.key), clock.now() + timedelta(hours=3)

    def offered(**how):
        return offers.poll_work(actor=who, device=device, **how).assignment

    assert offered(follows_metadata=True) == one
    with monkeypatch.context() as patched:
        patched.setattr(clock, "now", lambda: later)
        assert offered(follows_metadata=True) is None
        assert offered() == one, "an update client of its own asks for no timestamp"
    assert offered(follows_metadata=True) == one
