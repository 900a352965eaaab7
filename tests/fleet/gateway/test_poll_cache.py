"""The poll cache answers only what the ordinary way would answer with "nothing for you"."""

import time

import cbor2
import pytest
from django.db import connection

from devices.models import Sample
from devices.services import presence, quarantine, registry, twins
from fleet.gateway.poll_cache import Answers, PollCache
from fleet.gateway.poll_cache_sync import Follower
from ota.services import commands, idle
from pki.services import certificates, profiles
from tests.factories.ground import system

pytestmark = pytest.mark.django_db(databases=["default", "telemetry"])


@pytest.fixture
def seen():
    return {"cut": set(), "changed": set(), "open": set()}


@pytest.fixture
def table():
    return PollCache()


@pytest.fixture
def follower(table, seen):
    return Follower(table, lambda: seen["open"], seen["cut"].update, seen["changed"].update)


@pytest.fixture
def host(domain):
    return domain.host_names[0]


def key(one):
    return bytes.fromhex(one.certificate.fingerprint)


def test_an_idle_device_is_known_with_its_certificate(enrol, table, follower, host):
    one = enrol()
    follower.look()
    assert table.idle(key(one), host) == one.device.pk
    assert table.idle(key(one), host.upper()) == one.device.pk


def test_neither_another_host_nor_another_certificate_is_answered(enrol, table, follower, host, other_domain):
    one = enrol()
    follower.look()
    assert table.idle(key(one), other_domain.host_names[0]) == 0
    assert table.idle(key(one), "elsewhere.example") == 0
    assert table.idle(b"x" * 32, host) == 0


def acts(by):
    return {
        "quarantined": lambda one: quarantine.quarantine_device(actor=by, device=one.device, reason="odd"),
        "suspended": lambda one: registry.suspend_device(actor=by, device=one.device),
        "retired": lambda one: registry.retire_device(actor=by, device=one.device),
        "revoked": lambda one: certificates.revoke(
            actor=by, fingerprint=one.certificate.fingerprint, reason="unspecified"
        ),
        "commanded": lambda one: commands.queue_command(actor=by, device=one.device, kind="identify", reason="which"),
        "configured": lambda one: twins.desire_config(
            actor=by, device=one.device, patch={"poll_s": 9}, if_match='"d0"'
        ),
    }


@pytest.mark.parametrize("act", acts(None))
def test_whatever_makes_the_answer_another_one_takes_the_device_out(domain, enrol, table, follower, host, seen, act):
    one, other = enrol("dev-1"), enrol("dev-2")
    seen["open"] = {one.certificate.fingerprint}
    follower.look()
    acts(system(domain))[act](one)
    follower._feed.version = -1  # the same connection writes here, which SQLite's counter does not show
    follower.look()
    assert table.idle(key(one), host) == 0
    assert table.idle(key(other), host) == other.device.pk
    assert seen["changed"] == {one.certificate.fingerprint}
    assert bool(seen["cut"]) == (act in {"suspended", "retired", "revoked"})


def test_what_is_over_lets_the_device_in_again(domain, enrol, table, follower, host):
    one, by = enrol(), system(domain)
    command = commands.queue_command(actor=by, device=one.device, kind="identify", reason="which")
    follower.look()
    assert table.idle(key(one), host) == 0
    commands.cancel(actor=by, command=command)
    follower._feed.version = -1
    follower.look()
    assert table.idle(key(one), host) == one.device.pk


def test_a_device_that_should_renew_is_sent_the_ordinary_way(enrol, table, host):
    one = enrol()
    [row] = list(idle.idle_rows([one.device.key]))
    table.reached_by({host: row[2]})
    assert table.put(row)
    assert not table.put(row)
    assert table.idle(key(one), host)
    now = int(time.time())
    assert table.put((*row[:3], now - 10, now - 1))
    assert table.idle(key(one), host) == 0
    assert table.put((*row[:3], now + 60, now + 120))
    assert table.idle(key(one), host) == 0


def test_an_answer_holds_until_the_second_in_which_the_device_is_told_to_renew(domain, enrol):
    one = enrol()
    [row] = list(idle.idle_rows([one.device.key]))
    wanted = profiles.fresh_profile(domain.slug, one.certificate.profile_name).renew_at(
        one.certificate.not_after, one.certificate.fingerprint
    )
    assert row[3] == int(one.certificate.not_before.timestamp())
    assert row[4] == int(wanted.timestamp())


@pytest.mark.skipif(connection.vendor == "postgresql", reason="the reader is inside the transaction that writes")
def test_a_difference_that_nobody_noted_is_found_by_the_comparison(enrol, table, follower, host, caplog):
    one = enrol()
    follower.look()
    device = one.device
    type(device).objects.filter(pk=device.pk).update(state="suspended")
    follower._compared = 0.0
    follower.look()
    assert table.idle(key(one), host) == 0
    assert "the poll cache differed" in caplog.text


def test_answers_are_small_jittered_and_rarer_when_the_server_is_behind(settings):
    settings.FLEET_POLL_S = 300
    made = Answers()
    assert max(map(len, made.body)) <= 60
    waits = {cbor2.loads(body)["next"] for body in made.body}
    assert len(waits) > 1
    assert all(270 <= wait <= 330 for wait in waits)
    made.behind(2.0)
    made.renew()
    assert all(cbor2.loads(body)["next"] >= 1080 for body in made.body)
    head, _, body = made.next_http("application/cbor").partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\ndate: ")
    assert f"content-length: {len(body)}".encode() in head


def test_what_was_answered_from_memory_counts_as_behaviour(enrol, table):
    one = enrol()
    for _ in range(3):
        table.count(one.device.pk, "192.0.2.1")
    table.hand_over(9)
    presence.flush_presence()
    rows = dict(Sample.objects.filter(device_id=one.device.pk).values_list("metric", "value"))
    assert rows == {"requests": 3.0, "srv_bytes_in": 0.0, "srv_bytes_out": 27.0, "source_prefixes": 1.0}
