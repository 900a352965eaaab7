"""Token buckets for certificates and networks: what is counted, what is not, and in how much memory."""

import asyncio
import json

import pytest

from fleet.gateway.http import DeviceListener
from fleet.gateway.status import StatusListener
from fleet.wire.buckets import Buckets
from fleet.wire.networks import Trusted, network_of
from fleet.wire.rates import FAILED_COST, Rates
from tests.regressions import regression


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_a_bucket_empties_and_fills_again_and_is_forgotten_when_it_is_full():
    clock = Clock()
    held = Buckets(2.0, 10.0, now=clock)
    for _ in range(10):
        assert held.wait("a") == 0
        held.charge("a")
    assert held.wait("a") == 0.5
    assert held.wait("b") == 0
    for _ in range(1000):
        held.charge("a")
    assert held.wait("a") == 1.0, "what is owed has an end"
    clock.now += 100
    assert held.wait("a") == 0
    held.charge("b")
    assert len(held) == 1, "a is full again"


@regression("R10", "a table of buckets that strangers want to fill")
def test_the_table_does_not_grow():
    held = Buckets(0.001, 10.0, most=100)
    for number in range(5000):
        held.charge(str(number))
    assert len(held) == 100


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.200", True),
        ("192.0.2.1", "192.0.3.1", False),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.9", True),
        ("fe80::1%eth0", "fe80::2", True),
    ],
)
def test_addresses_count_with_their_network(one, other, same):
    assert (network_of(one) == network_of(other)) is same


@regression("R10", "addresses that a client writes into X-Forwarded-For itself")
def test_a_forwarded_address_is_taken_from_listed_proxies_only():
    trusted = Trusted(["10.0.0.0/8"])

    def client(address, *values):
        return trusted.client_of(address, [(b"x-forwarded-for", value) for value in values])

    assert client("192.0.2.7", b"203.0.113.1") == "192.0.2.7"
    assert client("10.0.0.5", b"203.0.113.1") == "203.0.113.1"
    assert client("10.0.0.5", b"1.1.1.1, 203.0.113.1, 10.0.0.6") == "203.0.113.1"
    assert client("10.0.0.5", b"1.1.1.1", b"203.0.113.1") == "203.0.113.1"
    assert client("10.0.0.5", b"nonsense") == "10.0.0.5"
    assert client("10.0.0.5") == "10.0.0.5"


@regression("R10", "one network's failures do not touch certificates behind the same address")
def test_who_proves_itself_is_counted_by_that_alone():
    rates = Rates(10.0, 60.0)
    for _ in range(100):
        rates.answered("", "192.0.2.1", 401)
    assert rates.wait("", "192.0.2.99") > 0
    assert rates.wait("f" * 64, "192.0.2.1") == 0
    assert rates.wait("", "198.51.100.1") == 0
    for _ in range(1000):
        rates.answered("", "198.51.100.1", 200, proved=True)
    assert rates.wait("", "198.51.100.1") == 0, "good tokens cost their network nothing"


@regression("R10", "a device that asks for names that do not exist")
def test_failures_of_a_certificate_cost_more():
    rates = Rates(10.0, 60.0)
    good = 0
    while not rates.wait("good", ""):
        rates.answered("good", "", 200)
        good += 1
    bad = 0
    while not rates.wait("bad", ""):
        rates.answered("bad", "", 404)
        bad += 1
    assert good >= 200
    assert bad <= good / FAILED_COST + 1
    assert rates.wait("other", "") == 0


def asked(app, path, *, method="POST", address="192.0.2.1", fields=(), peer=None):
    """Send one request to an application as the listener would; return status, fields and body."""
    held, said = [], []
    extensions = {"muster.connection": {"hold": held.append}, "muster.peer": peer or {}}
    scope = {
        "type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": b"",
        "headers": [(b"host", b"localhost"), *fields], "client": (address, 1), "extensions": extensions,
    }  # fmt: skip

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        said.append(message)

    async def run():
        await app(scope, receive, send)

    asyncio.run(run())
    return said[0]["status"], dict(said[0]["headers"]), said[1]["body"], held


@pytest.fixture
def strict(settings):
    settings.FLEET_STRANGERS_A_MINUTE = 5.0
    settings.FLEET_REQUESTS_A_DEVICE = 1.0


@regression("R10", "strangers that ask for what does not exist")
def test_a_network_that_fails_too_often_is_refused_and_others_are_not(strict):
    listener, known = DeviceListener(), {"fingerprint": "c" * 64}
    answers = [asked(listener, "/nothing") for _ in range(8)]
    assert [one[0] for one in answers] == [404] * 5 + [429] * 3
    _, fields, _, held = answers[-1]
    assert int(fields[b"retry-after"]) > 0
    assert held, "nothing more is read from it for a while"
    assert asked(listener, "/nothing", peer=known)[0] == 404, "a certificate behind the same address"
    assert asked(listener, "/nothing", address="198.51.100.1")[0] == 404
    assert asked(listener, "/healthz", method="GET")[0] == 200


@regression("R10", "requests that fail at the CRL/OCSP responder")
def test_the_responder_refuses_who_fails_too_often(strict):
    listener = StatusListener()
    found = [asked(listener, "/nothing", method="GET")[0] for _ in range(10)]
    assert set(found) == {404, 429}
    assert asked(listener, "/healthz", method="GET", address="198.51.100.1")[0] == 200


@regression("R10", "a certificate that asks without end")
def test_a_certificate_that_fails_without_end_is_refused_and_others_are_not(strict):
    listener, bad, good = DeviceListener(), {"fingerprint": "a" * 64}, {"fingerprint": "b" * 64}
    found = [asked(listener, "/nothing", peer=bad)[0] for _ in range(5)]
    assert found == [404, 404, 429, 429, 429]
    assert asked(listener, "/nothing", peer=good)[0] == 404
    body = asked(listener, "/v1/poll", peer=bad, fields=[(b"content-type", b"application/json")])[2]
    assert json.loads(body)["error"] == "limited"
