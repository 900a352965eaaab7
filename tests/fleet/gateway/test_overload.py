"""A listener that cannot keep up says so at once, and when to come again; what it has begun it finishes."""

import asyncio
import threading

import cbor2
import pytest

from fleet.gateway import codec, workers
from fleet.gateway.coap import mapping
from fleet.gateway.protocol import DeviceRequest, Reply, ResponseOutcome, TransportPeer


@pytest.fixture
def gate():
    return threading.Event()


@pytest.fixture
def listener(gate, monkeypatch):
    monkeypatch.setattr(workers, "MOST_WAITING", 3)

    def slow(_request):
        gate.wait(10)
        return Reply(ResponseOutcome.OK, b"done")

    made = workers.Workers("test-door", ((slow, codec.encode_refusal),))
    yield made
    gate.set()
    made.close()


def test_more_than_may_wait_are_turned_away_with_a_time(listener, gate):
    asked = DeviceRequest(TransportPeer(), "POST", "/v1/director", "", "")

    async def run():
        begun = [asyncio.create_task(listener.answer(asked)) for _ in range(3)]
        await asyncio.sleep(0.05)
        refused = [await listener.answer(asked) for _ in range(4)]
        gate.set()
        return refused, await asyncio.gather(*begun)

    refused, finished = asyncio.run(run())
    assert [one.payload for one in finished] == [b"done"] * 3
    assert {one.outcome for one in refused} == {ResponseOutcome.UNAVAILABLE}
    waits = [int(one.headers["retry-after"]) for one in refused]
    assert all(3 <= wait <= 16 for wait in waits)
    assert cbor2.loads(refused[0].payload)["error"] == "limited"
    over_coap = mapping.convert_reply(asked, refused[0])
    assert str(over_coap.code).startswith("5.03")
    assert over_coap.opt.max_age == waits[0]
