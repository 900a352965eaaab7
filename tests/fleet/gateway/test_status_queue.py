"""The CRL/OCSP responder when more is asked than its threads can answer."""

import asyncio
import threading

import pytest

from fleet.gateway import status
from fleet.gateway.status import StatusListener
from tests.regressions import regression

LIST = f"/crl/{'0' * 40}/00.crl"


async def asked(listener, path, method="GET"):
    said = []
    scope = {
        "type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": b"",
        "headers": [(b"host", b"localhost")], "client": ("192.0.2.1", 1),
    }  # fmt: skip

    async def receive():
        return {"type": "http.request", "body": b"x", "more_body": False}

    async def send(message):
        said.append(message)

    await listener(scope, receive, send)
    return said[0]["status"], dict(said[0]["headers"]), said[1]["body"].decode()


@pytest.fixture
def listener(settings):
    settings.FLEET_STRANGERS_A_MINUTE = 0
    return StatusListener()


@pytest.fixture
def held(listener):
    """Both threads of the responder wait, as for a slow disk."""
    go_on = threading.Event()
    for _ in range(status.THREADS):
        listener._pool.submit(go_on.wait, 20)
    yield go_on
    go_on.set()
    listener._pool.shutdown()


@regression("R9", "the health check of the CRL/OCSP responder behind its other work")
def test_the_health_check_waits_for_nothing(listener, held):
    assert asyncio.run(asyncio.wait_for(asked(listener, "/healthz"), 5))[0] == 200


@regression("R9", "more requests for CRLs and OCSP than its threads answer")
def test_what_waits_for_a_thread_has_an_end(listener, held, monkeypatch):
    monkeypatch.setattr(status, "MOST_WAITING", 3)

    async def run():
        waiting = [asyncio.create_task(asked(listener, path)) for path in (LIST, "/ocsp/AAAA", LIST)]
        await asyncio.sleep(0.05)
        refused = [await asked(listener, LIST), await asked(listener, "/ocsp", "POST")]
        held.set()
        return refused, [one[0] for one in await asyncio.gather(*waiting)], await asked(listener, LIST)

    refused, answered, afterwards = asyncio.run(run())
    for code, fields, text in refused:
        assert (code, int(fields[b"retry-after"]) > 0) == (503, True)
        assert "Try again" in text
    assert answered == [404, 200, 404]
    assert afterwards[0] == 404


def test_the_sentences_say_where_things_are_and_what_is_supported(listener):
    assert "/crl/KEY_ID/SHARD.crl" in asyncio.run(asked(listener, "/nothing"))[2]
    code, fields, text = asyncio.run(asked(listener, "/healthz", "POST"))
    assert (code, fields[b"allow"], text) == (405, b"GET, HEAD", "This path supports GET and HEAD.\n")
    assert "GET, HEAD and POST" in asyncio.run(asked(listener, "/ocsp", "DELETE"))[2]
