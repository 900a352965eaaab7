"""The agent fetches what a version names, whatever characters the version has."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

import pytest

from fleet.agent.transport import Transport
from fleet.agent.trust import _Fetcher
from tests.regressions import regression


@pytest.fixture
def server():
    seen = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{made.server_port}", seen
        made.shutdown()
        thread.join()


@regression("C3", "versions with characters that mean something in a URL, fetched by a device")
@pytest.mark.parametrize("version", ["1.0?a=b", "1.0#c", "100%", "1%2e0", "a b", "ü+1", "v1.2-3-gabc1234-dirty"])
def test_a_version_is_a_part_of_the_path(server, version):
    address, seen = server
    transport = Transport(address, None)
    path = f"/v1/metadata/app/node/{version}/{'0' * 64}.bundle.json"
    try:
        assert b"".join(_Fetcher(transport).fetch(path)) == b"{}"
    finally:
        transport.close()
    assert [unquote(one) for one in seen] == [path]
    assert not any(mark in seen[0] for mark in "?#")
