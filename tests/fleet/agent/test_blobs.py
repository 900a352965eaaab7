"""A blob may come from a bucket that the server names, and from nowhere where a device should not knock."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from fleet.agent import blobs
from fleet.agent.errors import AnswerError, RefusedError, TransportError
from fleet.agent.transport import Transport
from fleet.agent.trust import MAX_METADATA

DIGEST = "ab" * 32


class Server:
    """Answers by a table: path -> status, location, body; keeps what was asked."""

    def __init__(self):
        self.table, self.asked = {}, []
        ours = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                ours.asked.append((self.path, dict(self.headers)))
                answers = ours.table[self.path.partition("?")[0]]
                status, location, body = answers.pop(0) if len(answers) > 1 else answers[0]
                self.send_response(status)
                if location:
                    self.send_header("Location", location)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def listener():
    made = Server()
    yield made
    made.close()


@pytest.fixture
def bucket():
    made = Server()
    yield made
    made.close()


def fetched(listener, headers=None):
    line = Transport(listener.address, None)
    try:
        return list(blobs.stream_blob(line, DIGEST, 1000, headers))
    finally:
        line.close()


def test_the_bytes_come_from_the_bucket_without_what_concerns_the_server_alone(listener, bucket):
    listener.table[f"/v1/blob/{DIGEST}"] = [(307, f"{bucket.address}/key?X-Amz-Signature=s", b"")]
    bucket.table["/key"] = [(206, "", b"rest")]
    headers = {"Range": "bytes=5-", "If-Range": f'"{DIGEST}"'}
    assert fetched(listener, headers) == [(206, b"rest")]
    [(path, sent)] = bucket.asked
    assert path == "/key?X-Amz-Signature=s"
    assert sent["Range"] == "bytes=5-"
    assert "If-Range" not in sent


@pytest.mark.parametrize(
    "address",
    [
        "http://192.168.1.1/reboot",
        "http://bucket.example/key",
        "ftp://127.0.0.1/key",
        "file:///etc/passwd",
        "//elsewhere/key",
        "",
        "https:///key",
        "https://bucket.example/" + "k" * 5000,
    ],
)
def test_an_address_where_no_device_goes_is_refused(listener, address):
    listener.table[f"/v1/blob/{DIGEST}"] = [(307, address, b"")]
    with pytest.raises(RefusedError, match="redirects to an address"):
        fetched(listener)


def test_a_server_elsewhere_may_not_send_a_device_to_itself(bucket):
    with pytest.raises(RefusedError):
        list(blobs._elsewhere(f"{bucket.address}/admin", "muster.example", 1000, {}))
    assert bucket.asked == []


def test_an_address_that_has_expired_is_asked_for_anew_once(listener, bucket):
    listener.table[f"/v1/blob/{DIGEST}"] = [(307, f"{bucket.address}/key", b"")]
    bucket.table["/key"] = [(403, "", b"<Code>AccessDenied</Code>"), (200, "", b"data")]
    assert fetched(listener) == [(200, b"data")]
    assert len(listener.asked) == 2
    bucket.table["/key"] = [(403, "", b"<Signature>secret</Signature>")]
    with pytest.raises(TransportError) as told:
        fetched(listener)
    assert "secret" not in str(told.value)
    assert len(listener.asked) == 4


def test_a_bucket_sends_nobody_further(listener, bucket):
    listener.table[f"/v1/blob/{DIGEST}"] = [(307, f"{bucket.address}/key", b"")]
    bucket.table["/key"] = [(307, f"{bucket.address}/other", b"")]
    with pytest.raises(TransportError, match="307"):
        fetched(listener)
    assert len(bucket.asked) == 1


def test_metadata_is_never_fetched_elsewhere(listener, bucket):
    listener.table["/v1/metadata/timestamp.json"] = [(307, f"{bucket.address}/timestamp.json", b"")]
    line = Transport(listener.address, None)
    with pytest.raises(AnswerError):
        list(line.stream("/v1/metadata/timestamp.json", MAX_METADATA))
    with pytest.raises(AnswerError):
        line.call("GET", "/v1/metadata/timestamp.json")
    line.close()
    assert bucket.asked == []
