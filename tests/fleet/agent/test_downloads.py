"""Images come whole and true, or not at all; what came is not asked for twice."""

import contextlib
import hashlib
import socket
import time

import pytest

from fleet.agent import downloads, slots, transport
from fleet.agent.errors import AnswerError, RefusedError, TransportError
from fleet.agent.transport import Transport
from tests.fleet.agent.adversary import IMAGE, Loopback, assignment, drip
from tests.regressions import regression

DIGEST = hashlib.sha256(IMAGE).hexdigest()
BLOB = f"/v1/blob/{DIGEST}"


@pytest.fixture
def server():
    made = Loopback()
    yield made
    made.close()


@pytest.fixture
def line(server):
    made = Transport(server.address, None)
    yield made
    made.close()


@pytest.fixture
def target(tmp_path):
    return tmp_path / "slot-b.bin"


def ranged(handler, _body):
    """Serve the rest of the image, as a server with Range does."""
    start = int(handler.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
    assert handler.headers.get("If-Range") == f'"{DIGEST}"'
    handler.whole(IMAGE[start:], 206)


def cut(length):
    """Promise the whole image, send some of it, and hang up."""

    def answer(handler, _body):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(IMAGE)))
        handler.end_headers()
        handler.wfile.write(IMAGE[:length])
        handler.wfile.flush()
        handler.close_connection = True
        handler.connection.shutdown(socket.SHUT_RDWR)

    return answer


def test_an_image_is_written_whole(server, line, target):
    server.routes[BLOB] = IMAGE
    downloads.fetch_image(assignment(), None, line, target)
    assert target.read_bytes() == IMAGE
    assert [path.name for path in target.parent.iterdir()] == [target.name]


def test_a_cut_download_goes_on_where_it_stopped(server, line, target):
    server.routes[BLOB] = cut(25_000)
    with pytest.raises(TransportError):
        downloads.fetch_image(assignment(), None, line, target)
    assert not target.exists()
    server.routes[BLOB] = ranged
    downloads.fetch_image(assignment(), None, line, target)
    assert target.read_bytes() == IMAGE
    assert server.asked[-1][1]["Range"] == "bytes=25000-"


def test_a_server_that_ignores_the_range_is_read_from_the_start(server, line, target):
    server.routes[BLOB] = cut(25_000)
    with pytest.raises(TransportError):
        downloads.fetch_image(assignment(), None, line, target)
    server.routes[BLOB] = IMAGE
    downloads.fetch_image(assignment(), None, line, target)
    assert target.read_bytes() == IMAGE


def test_what_is_left_of_another_image_is_thrown_away(server, line, target):
    server.routes[BLOB] = cut(25_000)
    with pytest.raises(TransportError):
        downloads.fetch_image(assignment(), None, line, target)
    other = b"other" * 9_000
    server.routes[f"/v1/blob/{hashlib.sha256(other).hexdigest()}"] = other
    downloads.fetch_image(assignment(other), None, line, target)
    assert target.read_bytes() == other


def test_changed_bytes_of_the_right_length_are_refused_and_forgotten(server, line, target):
    server.routes[BLOB] = IMAGE[:-1] + b"!"
    with pytest.raises(RefusedError, match="not the signed ones"):
        downloads.fetch_image(assignment(), None, line, target)
    assert not target.exists()
    assert not target.with_suffix(".part").exists()


def test_more_bytes_than_were_signed_are_cut_off(server, line, target):
    server.routes[BLOB] = IMAGE + b"x" * 5_000_000
    with pytest.raises(RefusedError, match="more bytes"):
        downloads.fetch_image(assignment(), None, line, target)
    assert target.with_suffix(".part").stat().st_size <= len(IMAGE)


def test_a_mirror_that_lies_cannot_pass(server, line, target):
    mirror = Loopback()
    mirror.routes[f"/{DIGEST}"] = b"\0" * len(IMAGE)
    near = Transport(mirror.address, None)
    try:
        with pytest.raises(RefusedError, match="not the signed ones"):
            downloads.fetch_image(assignment(), near, line, target)
    finally:
        near.close()
        mirror.close()


def test_a_mirror_that_has_nothing_sends_the_device_to_the_server(server, line, target):
    server.routes[BLOB] = IMAGE
    mirror = Loopback()
    near = Transport(mirror.address, None)
    try:
        downloads.fetch_image(assignment(), near, line, target)
    finally:
        near.close()
        mirror.close()
    assert target.read_bytes() == IMAGE


def test_a_drip_feed_is_given_up(server, line, target, monkeypatch):
    monkeypatch.setattr(transport, "RATE_WINDOW", 0.5)
    server.routes[BLOB] = drip
    with pytest.raises(TransportError, match="slower"):
        downloads.fetch_image(assignment(), None, line, target)


def test_an_answer_beyond_a_mebibyte_is_not_kept(server, line):
    server.routes["/v1/time"] = b"x" * (transport.MAX_ANSWER + 1)
    with pytest.raises(TransportError, match="longer"):
        line.call("GET", "/v1/time")


def test_a_redirect_is_not_followed(server, line):
    def away(handler, _body):
        handler.send_response(307)
        handler.send_header("Location", "http://127.0.0.1:1/evil")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    server.routes["/v1/time"] = away
    with pytest.raises(AnswerError, match="307"):
        line.call("GET", "/v1/time")


@regression("R4", "a rename loop that puts another file under the name that was verified")
def test_what_is_exchanged_after_its_hash_is_not_put_in_place(tmp_path):
    part, target = tmp_path / "slot-a.part", tmp_path / "slot-a.bin"
    with part.open("w+b") as file:
        file.write(b"verified")
        (tmp_path / "evil").write_bytes(b"evil")
        (tmp_path / "evil").replace(part)  # between the hash and the rename
        with pytest.raises(RefusedError, match="replaced"):
            slots.put_in_place(file, part, target)


@regression("R4", "a link under the name of a download")
def test_a_download_does_not_go_on_through_a_link(tmp_path):
    (tmp_path / "secret").write_bytes(b"keep me")
    (tmp_path / "slot-a.part").symlink_to(tmp_path / "secret")
    with pytest.raises(OSError, match="symbolic"):
        slots.open_part(tmp_path / "slot-a.part")
    assert (tmp_path / "secret").read_bytes() == b"keep me"


def keep_sending(handler, piece):
    """Send a piece again and again, for ten seconds."""
    with contextlib.suppress(OSError):
        for _ in range(200):
            handler.wfile.write(piece)
            handler.wfile.flush()
            time.sleep(0.05)


def demand_deadline(line):
    """Demand that a download ends long before the server does."""
    began = time.monotonic()
    with pytest.raises(TransportError):
        line.call("GET", BLOB)
    assert time.monotonic() - began < 8


@regression("R13", "heads that never end: 100 Continue again and again, and two bytes a second")
@pytest.mark.parametrize("slowly", ["continue", "drip"])
def test_the_head_of_an_answer_has_one_deadline(server, line, monkeypatch, slowly):
    monkeypatch.setattr(transport, "HEAD_S", 1.0)

    def answer(handler, _body):
        keep_sending(handler, b"HTTP/1.1 100 Continue\r\n\r\n" if slowly == "continue" else b"X")

    server.routes[BLOB] = answer
    demand_deadline(line)


@regression("R13", "what stands between the payload without end: trailers, sizes and extensions of chunks")
@pytest.mark.parametrize(
    ("first", "again"), [(b"0\r\n", b"a: b\r\n"), (b"", b"0"), (b"1;", b"a=b;"), (b"2\r\nxx\r\n", b"0")]
)
def test_a_body_of_which_no_payload_comes_has_a_deadline(server, line, monkeypatch, first, again):
    monkeypatch.setattr(transport, "TIMEOUT", 1.0)

    def answer(handler, _body):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + first)
        keep_sending(handler, again)

    server.routes[BLOB] = answer
    demand_deadline(line)


def test_an_answer_with_chunks_and_trailers_is_read(server, line):
    def answer(handler, _body):
        chunks = b"5;a=b\r\nwhole\r\n0\r\na: b\r\n\r\n"
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks)

    server.routes[BLOB] = answer
    assert line.call("GET", BLOB).body == b"whole"


@regression("R13", "text outside ASCII in what becomes a path")
def test_any_text_can_stand_in_a_path(server, line):
    with pytest.raises(AnswerError):
        line.call("GET", "/v1/metadata/ü/\u202e/bundle.json")
