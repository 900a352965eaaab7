"""The operator server takes in bodies of a bounded length, declared or not, and a bounded number of long ones at once."""

import asyncio
import contextlib
import json

import pytest

from fleet.bounds import AROUND, MOST_OF_PERSON, MOST_UPLOADS, STRANGER, USUAL, Bounded
from fleet.wire import limits
from tests.regressions import regression

UPLOAD = 1 << 20


class BoundedServer:
    """Sends requests to an application that reads the whole body and answers with its length."""

    def __init__(self, *more):
        self.status = 200
        self.app, self.waiting = (
            Bounded(self.read, UPLOAD, lambda authorization, _: authorization, *more),
            asyncio.Event(),
        )

    async def read(self, _scope, receive, send):
        length = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            length += len(message["body"])
            if not message.get("more_body"):
                break
        await send({"type": "http.response.start", "status": self.status, "headers": []})
        await send({"type": "http.response.body", "body": str(length).encode()})

    async def ask(self, path, chunks, declared=None, method="POST", person="anna", address="192.0.2.1"):
        headers = [] if declared is None else [(b"content-length", str(declared).encode())]
        headers += [(b"authorization", person.encode())] if person else []
        left, said = list(chunks), []

        async def receive():
            if left and left[0] is None:
                await self.waiting.wait()
                left.pop(0)
            return {"type": "http.request", "body": left.pop(0) if left else b"", "more_body": bool(left)}

        async def send(message):
            said.append(message)

        scope = {"type": "http", "method": method, "path": path, "headers": headers, "client": (address, 1)}
        await self.app(scope, receive, send)
        self.fields = dict(said[0]["headers"])
        return said[0]["status"], said[1]["body"], left


def asked(*arguments, **further):
    return asyncio.run(BoundedServer().ask(*arguments, **further))


@pytest.mark.parametrize("path", ["/bundles", "/api/v1/bundles", "/api/v1/bundles/"])
def test_an_upload_may_be_long_and_what_is_longer_is_not_read_at_all(path):
    chunks = [bytes(1 << 20)] * 5
    assert asked(path, chunks, 5 << 20)[:2] == (200, str(5 << 20).encode())
    status, body, left = asked(path, chunks, 10 << 30)
    assert status == 413
    assert (
        json.loads(body)["detail"]
        == f"The body is too large. The limit for this request is {(UPLOAD + AROUND) >> 20} MB."
    )
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
        listener = BoundedServer()
        first = [
            asyncio.create_task(listener.ask("/bundles", [LONG, None, b"x"], person=str(n)))
            for n in range(MOST_UPLOADS)
        ]
        idle = [asyncio.create_task(listener.ask("/bundles", [None, b"x"], 1)) for _ in range(20)]
        await asyncio.sleep(0.01)
        status, body, _ = await listener.ask("/bundles", [LONG, b"x"])
        short = (await listener.ask("/bundles", [b"x"]))[0]
        other = (await listener.ask("/api/v1/devices", [b"x"]))[0]
        listener.waiting.set()
        ended = {one[0] for one in await asyncio.gather(*first, *idle)}
        later = (await listener.ask("/bundles", [LONG, b"x"]))[0]
        return status, json.loads(body)["detail"], short, other, ended, later

    status, detail, short, other, ended, later = asyncio.run(run())
    assert (status, short, other, later) == (503, 200, 200, 200)
    assert "Try again" in detail
    assert ended == {200}


def test_a_body_that_stops_coming_is_given_up_and_its_place_given_back(monkeypatch):
    monkeypatch.setattr(limits, "GAP_SECONDS", 0.05)

    async def run():
        listener = BoundedServer()
        slow = await asyncio.gather(
            *(listener.ask("/bundles", [LONG, None, b"x"], person=str(n)) for n in range(MOST_UPLOADS))
        )
        return {one[0] for one in slow}, (await listener.ask("/bundles", [LONG, b"x"]))[0]

    assert asyncio.run(run()) == ({408}, 200)


def test_a_request_that_breaks_off_gives_its_place_back():
    async def run():
        listener = BoundedServer()
        for _ in range(MOST_UPLOADS + 1):
            task = asyncio.create_task(listener.ask("/bundles", [LONG, None]))
            await asyncio.sleep(0.001)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        return (await listener.ask("/bundles", [LONG, b"x"]))[0]

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
        Bounded(streaming, UPLOAD, lambda *_: "")(
            {"type": "http", "method": "GET", "path": "/events", "headers": []}, receive, send
        )
    )
    assert said == [200, "http.disconnect"]


@regression("R9", "slow and long uploads of nobody, beside somebody's upload; more uploads of one person than it may")
def test_strangers_take_no_places_and_one_person_takes_few():
    async def run():
        listener = BoundedServer()
        strangers = await asyncio.gather(*(listener.ask("/bundles", [LONG, None], person="") for _ in range(20)))
        refused_before = await listener.ask("/bundles", [b"x"], STRANGER + 1, person="")
        small = await listener.ask("/sign-in", [b"x" * 1000], person="")
        held = [asyncio.create_task(listener.ask("/bundles", [LONG, None, b"x"])) for _ in range(MOST_OF_PERSON)]
        await asyncio.sleep(0.05)
        third, others = (
            await listener.ask("/bundles", [LONG, b"x"]),
            await listener.ask("/bundles", [LONG, b"x"], person="bo"),
        )
        listener.waiting.set()
        ended = await asyncio.gather(*held)
        return strangers, refused_before, small, third, others, ended, (await listener.ask("/bundles", [LONG, b"x"]))[0]

    strangers, refused_before, small, third, others, ended, later = asyncio.run(run())
    assert {one[0] for one in strangers} == {401}
    assert (refused_before[0], len(refused_before[2])) == (401, 1), "nothing of it was read"
    assert "Sign in" in json.loads(refused_before[1])["detail"]
    assert (small[0], third[0], others[0], later) == (200, 503, 200, 200)
    assert {one[0] for one in ended} == {200}


@regression("B6", "an upload that is slow and never stops, and one that is slower than any line")
def test_a_slow_body_is_taken_and_one_that_trickles_is_told_why(monkeypatch):
    monkeypatch.setattr(limits, "BODY_GRACE_SECONDS", 0.1)

    async def run(pieces, size, pause):
        listener = BoundedServer()

        async def receive():
            await asyncio.sleep(pause)
            left[0] -= 1
            return {"type": "http.request", "body": b"x" * size, "more_body": left[0] > 0}

        async def send(message):
            said.append(message)

        left, said = [pieces], []
        scope = {"type": "http", "method": "POST", "path": "/api/v1/devices", "headers": [], "client": ("192.0.2.1", 1)}
        await listener.app(scope, receive, send)
        return said[0]["status"], said[1]["body"]

    assert asyncio.run(run(30, 100, 0.02)) == (200, b"3000"), "five thousand bytes a second, for longer than the grace"
    status, body = asyncio.run(run(100, 1, 0.02))
    assert status == 408
    assert "bytes per second" in json.loads(body)["detail"]


@regression("R15", "answers of the operator server that a cache could keep")
@pytest.mark.parametrize(("path", "kept"), [("/account", False), ("/api/v1/tokens", False), ("/static/x.css", True)])
def test_only_static_files_may_be_kept(path, kept):
    async def run():
        listener = BoundedServer()
        await listener.ask(path, [b""], method="GET")
        return listener.fields

    assert (asyncio.run(run()).get(b"cache-control") == b"no-store") is not kept


@regression("R10", "wrong credentials without end at the operator server")
def test_who_has_no_credential_is_refused_when_its_network_failed_too_often():
    async def run():
        listener = BoundedServer(10.0)
        listener.status = 401
        found = [(await listener.ask("/api/v1/devices", [b""], person=""))[0] for _ in range(15)]
        listener.status = 200
        known = (await listener.ask("/api/v1/devices", [b""]))[0]
        elsewhere = (await listener.ask("/api/v1/devices", [b""], person="", address="198.51.100.1"))[0]
        return found, known, elsewhere, (await listener.ask("/healthz", [b""], person=""))[0]

    found, known, elsewhere, health = asyncio.run(run())
    assert found == [401] * 10 + [429] * 5
    assert (known, elsewhere, health) == (200, 200, 200)
