"""The operator door takes in bodies of a bounded length, declared or not, and a bounded number of long ones at once."""

import asyncio
import contextlib
import json

import pytest

from fleet import bounds
from fleet.bounds import AROUND, MOST_UPLOADS, USUAL, Bounded

UPLOAD = 1 << 20


class Door:
    """Sends requests to an application that reads the whole body and answers with its length."""

    def __init__(self):
        self.app, self.waiting = Bounded(self.read, UPLOAD), asyncio.Event()

    async def read(self, _scope, receive, send):
        length = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            length += len(message["body"])
            if not message.get("more_body"):
                break
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": str(length).encode()})

    async def ask(self, path, chunks, declared=None, method="POST"):
        headers = [] if declared is None else [(b"content-length", str(declared).encode())]
        left, said = list(chunks), []

        async def receive():
            if left and left[0] is None:
                await self.waiting.wait()
                left.pop(0)
            return {"type": "http.request", "body": left.pop(0) if left else b"", "more_body": bool(left)}

        async def send(message):
            said.append(message)

        await self.app({"type": "http", "method": method, "path": path, "headers": headers}, receive, send)
        return said[0]["status"], said[1]["body"], left


def asked(*arguments, **further):
    return asyncio.run(Door().ask(*arguments, **further))


@pytest.mark.parametrize("path", ["/bundles", "/api/v1/bundles", "/api/v1/bundles/"])
def test_an_upload_may_be_long_and_what_is_longer_is_not_read_at_all(path):
    chunks = [bytes(1 << 20)] * 5
    assert asked(path, chunks, 5 << 20)[:2] == (200, str(5 << 20).encode())
    status, body, left = asked(path, chunks, 10 << 30)
    assert status == 413
    assert json.loads(body)["detail"] == f"At most {(UPLOAD + AROUND) >> 20} MB are accepted here."
    assert len(left) == 5


@pytest.mark.parametrize("path", ["/bundles", "/api/v1/devices", "/sign-in", "/bundles/x"])
def test_a_body_without_a_length_ends_at_the_limit(path):
    limit = UPLOAD + AROUND if path == "/bundles" else USUAL
    status, _, left = asked(path, [bytes(1 << 16)] * 1000)
    assert status == 413
    assert len(left) >= 1000 - (limit >> 16) - 2


def test_other_methods_and_paths_take_no_upload():
    assert asked("/bundles", [], 3 << 20, method="PUT")[0] == 413
    assert asked("/api/v1/rollouts", [], 3 << 20)[0] == 413
    assert asked("/api/v1/rollouts", [b"{}"], 2)[0] == 200


LONG = bytes(USUAL + 1)


def test_only_so_many_long_bodies_come_in_at_once_and_short_ones_take_no_place():
    async def run():
        door = Door()
        first = [asyncio.create_task(door.ask("/bundles", [LONG, None, b"x"])) for _ in range(MOST_UPLOADS)]
        idle = [asyncio.create_task(door.ask("/bundles", [None, b"x"], 1)) for _ in range(20)]
        await asyncio.sleep(0.01)
        status, body, _ = await door.ask("/bundles", [LONG, b"x"])
        short = (await door.ask("/bundles", [b"x"]))[0]
        other = (await door.ask("/api/v1/devices", [b"x"]))[0]
        door.waiting.set()
        ended = {one[0] for one in await asyncio.gather(*first, *idle)}
        later = (await door.ask("/bundles", [LONG, b"x"]))[0]
        return status, json.loads(body)["detail"], short, other, ended, later

    status, detail, short, other, ended, later = asyncio.run(run())
    assert (status, short, other, later) == (503, 200, 200, 200)
    assert "Try again" in detail
    assert ended == {200}


def test_a_body_that_stops_coming_is_given_up_and_its_place_given_back(monkeypatch):
    monkeypatch.setattr(bounds, "GAP_S", 0.05)

    async def run():
        door = Door()
        slow = await asyncio.gather(*(door.ask("/bundles", [LONG, None, b"x"]) for _ in range(MOST_UPLOADS)))
        return {one[0] for one in slow}, (await door.ask("/bundles", [LONG, b"x"]))[0]

    assert asyncio.run(run()) == ({408}, 200)


def test_a_request_that_breaks_off_gives_its_place_back():
    async def run():
        door = Door()
        for _ in range(MOST_UPLOADS + 1):
            task = asyncio.create_task(door.ask("/bundles", [LONG, None]))
            await asyncio.sleep(0.001)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        return (await door.ask("/bundles", [LONG, b"x"]))[0]

    assert asyncio.run(run()) == 200


def test_an_answer_that_streams_hears_that_the_other_side_went_away():
    """Once the body is whole nothing is timed: events are sent for hours."""

    async def streaming(_scope, receive, send):
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        said.append((await receive())["type"])

    said, left = [], [{"type": "http.request", "body": b"", "more_body": False}, {"type": "http.disconnect"}]

    async def receive():
        return left.pop(0)

    async def send(message):
        said.append(message["status"])

    asyncio.run(
        Bounded(streaming, UPLOAD)({"type": "http", "method": "GET", "path": "/events", "headers": []}, receive, send)
    )
    assert said == [200, "http.disconnect"]
