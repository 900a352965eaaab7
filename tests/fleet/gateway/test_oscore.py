"""One OSCORE context in the listener's memory: RFC 8613's own numbers, replays, lost memories; and how many are kept."""

import asyncio

import pytest
from aiocoap import Message, oscore
from aiocoap.message import Direction
from aiocoap.numbers import codes

from devices.services import oscore as numbers
from devices.services.oscore import Material
from fleet.gateway.coap import oscore as server_oscore
from fleet.gateway.coap.oscore import OscoreContexts, SecurityContext, kid_of
from pki.kernel.errors import LimitedError, NotFoundError
from tests.peers.oscore import ClientContext

SECRET, SALT = bytes(range(1, 17)), bytes.fromhex("9e7ca92223786340")
KID, FINGERPRINT = b"\0\0\0\0\7", "ab" * 32


def server(recipient_next=0, kid=KID):
    return SecurityContext(Material(kid, SECRET, SALT, FINGERPRINT, recipient_next))


def client(number=0, kid=KID):
    return ClientContext(SECRET, SALT, kid, number)


def request(context, **options):
    made = Message(code=codes.GET, uri_path=("v1", "poll"), **options)
    outer, request_id = context.protect(made)
    outer.token = b"t"
    return arrived(outer), request_id


def arrived(outer):
    outer.direction = Direction.INCOMING
    return outer


def challenged(context, message):
    context.sender_end = context.sender_sequence_number + 10
    with pytest.raises(oscore.ReplayErrorWithEcho) as problem:
        context.open(message)
    return problem.value


def test_keys_are_those_of_the_rfc():
    """RFC 8613, appendix C.1: its client, with the empty Sender ID, is our side here."""
    made = server(kid=b"\1")
    assert made.sender_key.hex() == "f0910ed7295e6ad4b54fc793154302ff"
    assert made.recipient_key.hex() == "ffb14e093c94c9cac9471648b4f98710"
    assert made.common_iv.hex() == "4622d4dd6d944168eefb54987c"


def test_a_request_is_opened_once():
    device, server_side = client(), server()
    message, _ = request(device)
    assert kid_of(message) == KID
    inner, _ = server_side.open(message)
    assert tuple(inner.opt.uri_path) == ("v1", "poll")
    with pytest.raises(oscore.ReplayError):
        server_side.open(message)


def test_after_a_restart_numbers_beyond_all_that_were_accepted_need_no_challenge():
    server_side = server(recipient_next=64)
    server_side.open(request(client(64))[0])
    with pytest.raises(oscore.ReplayError):
        server_side.open(request(client(63))[0])
    assert server_side.next_accepted == 65


def test_after_a_crash_a_device_is_challenged_and_a_replay_never_passes():
    device, server_side = client(10), server(recipient_next=64)
    heard, _ = request(device)
    challenge = challenged(server_side, heard)
    answer = arrived(challenge.to_message())
    _, request_id = client(10).protect(Message(code=codes.GET, uri_path=("v1", "poll")))
    inner, _ = device.unprotect(answer, request_id)
    assert (inner.code, inner.opt.echo) == (codes.UNAUTHORIZED, server_side.echo_recovery)
    server_side.open(request(device, echo=inner.opt.echo)[0])
    for again in (heard, request(client(11), echo=inner.opt.echo)[0]):
        with pytest.raises(oscore.ReplayError):
            server_side.open(again)


def test_an_answer_to_what_may_be_a_replay_has_a_number_of_our_own():
    server_side = server(recipient_next=64)
    message, _ = request(client(10))
    first, second = (challenged(server_side, message).to_message() for _ in range(2))
    assert first.opt.oscore != second.opt.oscore
    assert oscore.COSE_PIV in oscore.verify_start(arrived(first))


def test_a_forged_number_moves_nothing():
    server_side = server(recipient_next=64)
    forged, _ = request(ClientContext(bytes(16), SALT, KID, 2**30))
    with pytest.raises(oscore.ProtectionInvalid):
        server_side.open(forged)
    assert not server_side.recipient_replay_window.is_initialized()
    assert server_side.next_accepted == 0
    server_side.open(request(client(64))[0])


def test_without_reserved_numbers_nothing_is_sent():
    with pytest.raises(oscore.ContextUnavailable):
        server().new_sequence_number()


def test_malformed_options_name_nobody():
    for option in (b"", b"\x0f", b"\x19\x05", b"\x10", b"\xff\xff", b"\x19\x01\x05"):
        made = Message(code=codes.POST)
        made.opt.oscore = option
        assert kid_of(made) == b""


class Rows:
    """What the services would write, for a test of memory alone."""

    def __init__(self, monkeypatch):
        self.next, self.rested, self.there = {}, {}, True
        for name in ("context_material", "note_accepting", "store_numbers", "is_context_valid", "reserve_numbers"):
            monkeypatch.setattr(numbers, name, getattr(self, name))

    def context_material(self, kid):
        if not self.there:
            raise NotFoundError("none")
        return Material(kid, SECRET, SALT, kid.hex(), self.next.get(kid, 0))

    def note_accepting(self, kid, number):
        self.next[kid] = max(self.next.get(kid, 0), number + numbers.BLOCK)
        return self.next[kid]

    def store_numbers(self, ended):
        for kid, reserved, accepted in ended:
            assert self.next[kid] == reserved
            self.rested[kid] = accepted

    def is_context_valid(self, _kid):
        return self.there

    def reserve_numbers(self, _kid):
        return 100


async def in_thread(act):
    await asyncio.sleep(0)
    return act()


def test_numbers_are_written_ahead_a_block_at_a_time(monkeypatch):
    rows = Rows(monkeypatch)

    async def run():
        held, device = await OscoreContexts(in_thread, lambda _: None).get(KID), client()
        writes = []
        for _ in range(200):
            held.open(request(device)[0])
            await held.accept(in_thread)
            assert held.next_accepted <= rows.next[KID], "acted upon before it was written"
            writes.append(rows.next[KID])
        return len(set(writes))

    assert asyncio.run(run()) <= 4


def test_the_longest_silent_makes_room_and_rests_with_its_exact_number(monkeypatch):
    rows, gone = Rows(monkeypatch), []
    monkeypatch.setattr(server_oscore, "MOST_CONTEXTS", 2)

    async def run():
        contexts = OscoreContexts(in_thread, lambda one: gone.append(one.recipient_id))
        kids = [bytes((0, 0, 0, 0, number)) for number in range(3)]
        for kid in kids:
            held = await contexts.get(kid)
            held.open(request(client(5, kid))[0])
            await held.accept(in_thread)
        assert contexts.at_hand(kids[0]) is None
        assert contexts.at_hand(kids[1])
        assert gone == [kids[0]]
        await asyncio.sleep(0.01)
        assert rows.rested == {kids[0]: 6}
        assert contexts.fingerprints() == {kids[1].hex(), kids[2].hex()}
        await contexts.close()
        assert rows.rested == dict.fromkeys(kids, 6)

    asyncio.run(run())


def test_a_doubtful_context_is_looked_up_and_an_ended_one_forgotten(monkeypatch):
    rows, gone = Rows(monkeypatch), []

    async def run():
        contexts = OscoreContexts(in_thread, gone.append)
        held = await contexts.get(KID)
        contexts.doubt({KID.hex()})
        assert contexts.at_hand(KID) is None
        assert await contexts.get(KID) is held
        contexts.doubt({KID.hex()})
        rows.there = False
        with pytest.raises(NotFoundError):
            await contexts.get(KID)
        assert gone == [held]
        assert contexts.fingerprints() == set()

    asyncio.run(run())


def test_unknown_names_are_looked_up_a_few_at_a_time(monkeypatch):
    Rows(monkeypatch)
    monkeypatch.setattr(server_oscore, "MOST_LOADING", 3)

    async def run():
        contexts = OscoreContexts(in_thread, lambda _: None)
        asked = [contexts.get(bytes((0, 0, 0, 1, number))) for number in range(5)]
        done = await asyncio.gather(*asked, return_exceptions=True)
        assert [isinstance(one, LimitedError) for one in done] == [False, False, False, True, True]

    asyncio.run(run())


def test_two_first_datagrams_share_one_window(monkeypatch):
    Rows(monkeypatch)

    async def run():
        contexts = OscoreContexts(in_thread, lambda _: None)
        one, other = await asyncio.gather(contexts.get(KID), contexts.get(KID))
        assert one is other

    asyncio.run(run())


def test_a_context_whose_numbers_are_being_written_is_loaded_when_they_are(monkeypatch):
    rows = Rows(monkeypatch)
    monkeypatch.setattr(server_oscore, "MOST_CONTEXTS", 1)

    async def run():
        slow = asyncio.Event()

        async def in_slow_thread(act):
            if not slow.is_set() and "ended" in act.__code__.co_freevars:
                await slow.wait()
            return act()

        contexts = OscoreContexts(in_slow_thread, lambda _: None)
        first, second = bytes((0, 0, 0, 0, 1)), bytes((0, 0, 0, 0, 2))
        held = await contexts.get(first)
        held.open(request(client(5, first))[0])
        await held.accept(in_slow_thread)
        await contexts.get(second)
        assert contexts.at_hand(first) is None
        again = asyncio.create_task(contexts.get(first))
        await asyncio.sleep(0.01)
        assert not again.done()
        slow.set()
        assert (await again) is not held
        assert rows.rested[first] == 6

    asyncio.run(run())


def test_a_context_that_is_looked_up_is_not_put_to_rest_meanwhile(monkeypatch):
    rows = Rows(monkeypatch)
    monkeypatch.setattr(server_oscore, "MOST_CONTEXTS", 1)

    async def run():
        looked = asyncio.Event()

        async def in_slow_thread(act):
            if rows.is_context_valid.__name__ in act.__code__.co_names:
                await looked.wait()
            return act()

        contexts = OscoreContexts(in_slow_thread, lambda _: None)
        first, second = bytes((0, 0, 0, 0, 1)), bytes((0, 0, 0, 0, 2))
        held = await contexts.get(first)
        held.open(request(client(5, first))[0])
        await held.accept(in_slow_thread)
        contexts.doubt({first.hex()})
        asked = asyncio.create_task(contexts.get(first))
        await asyncio.sleep(0.01)
        await contexts.get(second)
        looked.set()
        assert await asked is held
        assert first not in rows.rested, "the one memory of it goes on"

    asyncio.run(run())


def test_names_of_another_length_are_not_even_looked_up(monkeypatch):
    rows = Rows(monkeypatch)
    monkeypatch.setattr(rows, "context_material", None)

    async def run():
        for name in (b"", b"1234", b"123456"):
            with pytest.raises(NotFoundError):
                await OscoreContexts(in_thread, lambda _: None).get(name)

    asyncio.run(run())


def test_numbers_of_ours_go_on_or_jump_ahead_with_the_clock(monkeypatch):
    rows = Rows(monkeypatch)
    blocks = iter((100, 100 + numbers.BLOCK, 5000))
    monkeypatch.setattr(numbers, "reserve_numbers", lambda _kid: next(blocks))

    async def run():
        held = await OscoreContexts(in_thread, lambda _: None).get(KID)
        used = []
        for _ in range(3):
            await held.reserve(in_thread)
            while held.numbers_left >= server_oscore.FEW_LEFT:
                used.append(held.new_sequence_number())
        assert len(set(used)) == len(used)
        assert used[0] == 100
        assert used[-1] >= 5000
        assert all(100 <= one < 100 + 2 * numbers.BLOCK or one >= 5000 for one in used), "only what was reserved"
        assert rows.there

    asyncio.run(run())
