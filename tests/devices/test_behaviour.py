"""Telemetry in, drift out, incidents; and the lifecycle of devices."""

import re
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from devices import baselines, selectors
from devices.errors import LifecycleError, ReplayError
from devices.models import Incident, Observation, Presence, Sample
from devices.services import drift, hardware, incidents, presence, quarantine, registry, telemetry, twins
from pki import selectors as ground
from pki.kernel import actor as actors
from pki.kernel import clock
from pki.kernel.errors import DeniedError, InvalidError
from pki.models import Certificate, LedgerEntry
from pki.services import ledger, ledger_check, signing
from tests.factories.ground import person, system

pytestmark = pytest.mark.django_db(databases=["default", "telemetry"])


def own(domain, enrolled):
    return actors.device_actor(domain.slug, enrolled.device.key)


def test_a_batch_counts_once(domain, enrol):
    one = enrol()
    batch = telemetry.parse_batch({"seq": 5, "metrics": {"bytes_out": 10}, "peers": [["tcp", 443, "lan"]]})
    telemetry.ingest_batch(actor=own(domain, one), device=one.device, batch=batch)
    with pytest.raises(ReplayError):
        telemetry.ingest_batch(actor=own(domain, one), device=one.device, batch=batch)
    assert Sample.objects.filter(device_id=one.device.pk).count() == 1
    assert Observation.objects.get(device_id=one.device.pk).key == "tcp:443:lan"


def test_a_device_cannot_speak_for_another(domain, enrol):
    one, two = enrol("dev-1"), enrol("dev-2")
    batch = telemetry.parse_batch({"seq": 1, "metrics": {}})
    with pytest.raises(DeniedError):
        telemetry.ingest_batch(actor=own(domain, one), device=two.device, batch=batch)


@pytest.mark.parametrize(
    "body",
    [
        {"seq": 0},
        {"seq": True},
        {"seq": 1, "metrics": {"Heart Rate": 60}},
        {"seq": 1, "metrics": {f"m{n}": 1 for n in range(65)}},
        {"seq": 1, "metrics": {1: 2}},
        {"seq": 1, "metrics": {"temp_c": float("nan")}},
        {"seq": 1, "metrics": {"temp_c": "warm"}},
        {"seq": 1, "further": 1},
        {"seq": 1, "peers": [["tcp", 70000, "lan"]]},
        {"seq": 1, "peers": [["tcp", 1, "moon"]]},
        {"seq": 1, "peers": [["tcp", 1, "lan"]] * 65},
    ],
)
def test_what_is_not_on_the_list_is_refused(body):
    with pytest.raises(InvalidError):
        telemetry.parse_batch(body)


def test_presence_is_gathered_and_written_in_one_go(domain, enrol):
    one = enrol()
    presence.flush_presence()
    presence.note_request(one.device.pk, "127.0.0.1", 10, 20)
    presence.note_request(one.device.pk, "127.0.0.1", 10, 20)
    presence.note_request(one.device.pk, "127.0.0.1", 0, 9_000_000, routine=False)
    assert not Presence.objects.filter(device_id=one.device.pk).exists()
    assert presence.flush_presence() == 1
    samples = dict(Sample.objects.filter(device_id=one.device.pk).values_list("metric", "value"))
    assert samples["requests"] == 2
    assert samples["srv_bytes_out"] == 40


def test_the_job_learns_then_opens_one_incident_for_one_change(domain, enrol, settings, monkeypatch):
    settings.FLEET_DRIFT_TICK_S = 1
    settings.FLEET_DRIFT_LEARN_TICKS = 60
    fleet = [enrol(f"dev-{n}") for n in range(8)]
    start = clock.now().replace(microsecond=0)
    for tick in range(75):
        with clock.frozen(start + timedelta(seconds=tick)):
            for n, one in enumerate(fleet):
                wild = n == 3 and tick >= 65
                body = {
                    "seq": tick + 1,
                    "metrics": {"bytes_out": (1000 + (tick * 7 + n) % 11) * (20 if wild else 1)},
                    "peers": [["tcp", 443, "lan"], *([["tcp", 4444, "wan"]] if wild else [])],
                }
                telemetry.ingest_batch(actor=own(domain, one), device=one.device, batch=telemetry.parse_batch(body))
            drift.score_ticks(domain=domain)
    found = Incident.objects.get(domain=domain)
    assert found.device_id == fleet[3].device.pk
    assert found.severity == "high"
    assert found.layer_now == "corroborated"
    assert found.explanation["metrics"][0]["name"] == "bytes_out"
    assert "tcp:4444:wan" in found.explanation["novel"]
    assert re.fullmatch(
        r"Sending [\d,]+ bytes/min \(baseline [\d,]+\)(; .*)?\. New destination: TCP port 4444, outside the site; "
        r"no device in its cohort has used it before\.",
        found.explanation["text"],
    )


def test_the_usual_range_of_a_metric_is_known_after_three_reports(domain, enrol, settings):
    settings.FLEET_DRIFT_TICK_S = 1
    one, start = enrol(), clock.now().replace(microsecond=0)
    for tick in range(8):
        with clock.frozen(start + timedelta(seconds=tick)):
            batch = telemetry.parse_batch({"seq": tick + 1, "metrics": {"bytes_out": 1000 + tick % 3}})
            telemetry.ingest_batch(actor=own(domain, one), device=one.device, batch=batch)
            drift.score_ticks(domain=domain)
            if tick == drift.GRACE_TICKS + 2:
                assert baselines.usual_band(one.device, "bytes_out") is None
    band = baselines.usual_band(one.device, "bytes_out")
    assert band.low < 1000
    assert band.high > 1002
    assert band.level == pytest.approx(1001, abs=1)
    assert baselines.usual_band(one.device, "unheard") is None


def test_an_incident_is_closed_once_with_its_verdict(domain, enrol):
    one = enrol()
    facts = {"layer": "numeric", "score": 9, "text": "x", "metrics": []}
    opened = incidents.raise_for(actor=system(domain), device=one.device, severity="medium", explanation=facts)
    again = incidents.raise_for(actor=system(domain), device=one.device, severity="medium", explanation=facts)
    assert opened.pk == again.pk
    key = str(opened.public_id)
    with pytest.raises(InvalidError):
        incidents.close(actor=person(domain, "operator"), public_id=key, verdict="maybe")
    assert incidents.close(actor=person(domain, "operator"), public_id=key, verdict="benign").state == "closed"
    with pytest.raises(Exception, match="already closed"):
        incidents.close(actor=person(domain, "operator"), public_id=key, verdict="benign")


def test_quarantine_needs_a_reason_and_its_release_a_security_officer(domain, enrol):
    one = enrol()
    with pytest.raises(InvalidError):
        quarantine.quarantine_device(actor=system(domain), device=one.device, reason=" ")
    held = quarantine.quarantine_device(actor=person(domain, "operator"), device=one.device, reason="odd")
    assert held.quarantined
    with pytest.raises(DeniedError):
        quarantine.release_device(actor=person(domain, "operator"), device=one.device, reason="fine")
    assert not quarantine.release_device(
        actor=person(domain, "security-officer"), device=one.device, reason="f"
    ).quarantined


def test_retiring_revokes_and_cannot_be_undone(domain, enrol):
    one = enrol()
    registry.retire_device(actor=person(domain, "security-officer"), device=one.device)
    assert Certificate.objects.get(subject_key=one.device.key).revoked_at is not None
    with pytest.raises(LifecycleError):
        registry.resume_device(actor=person(domain, "security-officer"), device=one.device)


def test_reports_only_go_forward(domain, enrol):
    one = enrol()
    twins.store_report(actor=own(domain, one), device=one.device, sequence=4, components={})
    for sequence in (4, 3):
        with pytest.raises(ReplayError):
            twins.store_report(actor=own(domain, one), device=one.device, sequence=sequence, components={})


def test_what_devices_were_shown_of_the_ledger_testifies_against_who_rewrites_it(domain, enrol):
    one = enrol()
    signing.signer_client("admin").create_online_keys(domain.slug)
    ledger.sequence_leaves(domain=domain)
    head = ground.ledger_head(actor=system(domain))
    seen = {"head": [head.epoch, head.size, head.root_hash]}
    twins.store_report(actor=own(domain, one), device=one.device, sequence=1, components={}, seen=seen)
    report = ledger_check.verify_ledger(actor=system(domain), witnesses=selectors.reported_heads(actor=system(domain)))
    assert (report.problems, report.witnesses) == ([], 1)
    forked = {"head": [head.epoch, head.size, "0" * 64]}
    twins.store_report(actor=own(domain, one), device=one.device, sequence=2, components={}, seen=forked)
    report = ledger_check.verify_ledger(actor=system(domain), witnesses=selectors.reported_heads(actor=system(domain)))
    assert [one.device.name in problem for problem in report.problems] == [True]


def send(domain, one, number, **metrics):
    batch = telemetry.parse_batch({"seq": number, "metrics": metrics})
    one.device.refresh_from_db()
    telemetry.ingest_batch(actor=own(domain, one), device=one.device, batch=batch)


def stored(one):
    return dict(Sample.objects.filter(device_id=one.device.pk).values_list("metric", "value"))


def test_what_must_not_leave_the_device_is_refused_whole_and_counted(domain, enrol):
    one = enrol()
    classes = {"temp_c": "operational", "heart_rate": "on_device_only", "steps": "personal"}
    hardware.classify_metrics(actor=person(domain, "operator"), model=one.device.hardware_model, telemetry=classes)
    for number in (1, 2):
        with pytest.raises(DeniedError, match="heart_rate must not leave the device"):
            send(domain, one, number, temp_c=20, heart_rate=61.5)
    assert stored(one) == {"srv_refused": 2.0}
    send(domain, one, 1, temp_c=20, steps=7)
    assert stored(one) == {"srv_refused": 2.0, "temp_c": 20.0, "steps": 7.0}
    assert LedgerEntry.objects.get(domain=domain, action="hardware.classified").detail["telemetry"] == classes


def test_a_metric_on_no_list_is_refused_and_the_usual_ones_need_none(domain, enrol):
    one = enrol()
    with pytest.raises(InvalidError, match="Unknown metrics: heart_rate"):
        send(domain, one, 1, heart_rate=60)
    send(domain, one, 1, temp_c=20)
    assert stored(one) == {"srv_refused": 1.0, "temp_c": 20.0}


@pytest.mark.parametrize(
    "document", [[], {"A": "operational"}, {"a": "secret"}, {"a": 1}, {f"m{n}": "personal" for n in range(65)}]
)
def test_a_schema_that_makes_no_sense_is_refused(domain, enrol, document):
    model = enrol().device.hardware_model
    with pytest.raises(InvalidError):
        hardware.classify_metrics(actor=person(domain, "operator"), model=model, telemetry=document)
    with pytest.raises(DeniedError):
        hardware.classify_metrics(actor=person(domain, "viewer"), model=model, telemetry={})


def test_the_drift_job_looks_first(domain, enrol, settings):
    settings.FLEET_DRIFT_TICK_S = 60
    enrol()
    with CaptureQueriesContext(connection) as seen:
        for later in (0, 600, 601):
            with clock.frozen(clock.now() + timedelta(seconds=later)):
                assert drift.score_ticks(domain=domain) == []
    assert not [one for one in seen if "devices_device" in one["sql"]]


def test_a_worker_that_wakes_up_keeps_no_older_drift_state_over_a_newer_one(domain, enrol, settings):
    settings.FLEET_DRIFT_TICK_S, start, key = 60, clock.now(), enrol("dev-1").device.pk

    def scored(at):
        """Score the newest whole tick, which has a sample, and return its number as it is kept."""
        with clock.frozen(at):
            number = clock.unix() // 60 - 1 - drift.GRACE_TICKS
            Sample.objects.create(device_id=key, metric="requests", tick=number, value=1.0)
            drift.score_ticks(domain=domain)
            return drift._load(domain)[0].updated_tick, number

    assert len(set(scored(start))) == 1
    read_before, shard, novelty = drift._load(domain)
    newest, number = scored(start + timedelta(minutes=3))
    assert newest == number == read_before.updated_tick + 3
    drift._save(read_before, newest - 1, shard, novelty)
    assert drift._load(domain)[0].updated_tick == newest
