"""The operator door takes in bodies of a bounded length, declared or not, and a bounded number of long ones at once."""

import asyncio
import json

import pytest

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


def test_only_so_many_uploads_come_in_at_once():
    async def run():
        door = Door()
        first = [asyncio.create_task(door.ask("/bundles", [None, b"x"])) for _ in range(MOST_UPLOADS)]
        await asyncio.sleep(0.01)
        status, body, _ = await door.ask("/bundles", [b"x"])
        other, _, _ = await door.ask("/api/v1/devices", [b"x"])
        door.waiting.set()
        ended = [one[0] for one in await asyncio.gather(*first)]
        return status, json.loads(body)["detail"], other, ended, (await door.ask("/bundles", [b"x"]))[0]

    status, detail, other, ended, later = asyncio.run(run())
    assert (status, other, later) == (503, 200, 200)
    assert "Try again" in detail
    assert ended == [200] * MOST_UPLOADS
