"""The listeners get new certificates and ticket keys while they serve: nobody's request is lost."""

import hashlib
import http.client
import json
import os
import signal
import socket
import ssl
import threading
import time
import uuid
from pathlib import Path

import pytest

from fleet.management.quickstart import material
from tests.factories.story import eventually, identity
from tests.peers.operator import Operator

pytestmark = [pytest.mark.peer, pytest.mark.xdist_group("listeners")]
BOARD = "slow-board"
LISTENERS = {"device-door-1", "device-door-2", "operator-door", "coap-door"}


def shown(story, port):
    """Return the SHA-256 of the certificate that a listener shows."""
    context = ssl.create_default_context(cafile=story.anchor)
    raw = socket.create_connection(("127.0.0.1", port))
    with context.wrap_socket(raw, server_hostname="localhost") as line:
        return hashlib.sha256(line.getpeercert(binary_form=True)).hexdigest()


def exchanged(story, served):
    """Return the names of the processes that are no longer those of before."""
    now = json.loads((story.folder / "run" / "serve.json").read_text())["pids"]
    return {name for name, pid in now.items() if pid != served["pids"][name]}


@pytest.fixture
def served(story):
    """Serve by our own parent process, whose id is known; afterwards the story goes on as before."""
    return json.loads((story.folder / "run" / "serve.json").read_text())


def test_listeners_are_exchanged_without_a_lost_request(story, served, tmp_path):
    operator = Operator(story, tmp_path)
    operator.board(BOARD)
    name = f"slow-{uuid.uuid4().hex[:6]}"
    agent = story.agent(name, tmp_path / "disk", BOARD)
    archive = material.fetch_archives()["uflash==1.1.0"]
    data = (
        material.build_firmware(story.folder / "offline", tmp_path / "made", archive, "2.2.0", 22)
        .files["app.bin"]
        .read_bytes()
    )
    kind = {"board": BOARD, "form": "mcuboot", "name": name, "component": "app"}
    rollout = operator.roll_out(operator.release(operator.upload(data, "2.2.0", counter=22, **kind)))
    eventually(lambda: operator.progress(rollout)["groups"].get("offered"))
    before, failures, polls, stop = shown(story, story.device_port), [], [0], threading.Event()

    def poll():
        while not stop.is_set():
            try:
                status, _, _ = story.call("GET", "/v1/poll", identity=identity(agent))
                polls[0] += status == 200
            except (OSError, http.client.HTTPException) as error:
                failures.append(repr(error))

    thread = threading.Thread(target=poll)
    thread.start()
    context = ssl.create_default_context(cafile=story.anchor)
    context.load_cert_chain(*identity(agent))
    slow = http.client.HTTPSConnection("localhost", story.device_port, timeout=60, context=context)
    try:
        slow.request("GET", f"/v1/blob/{hashlib.sha256(data).hexdigest()}")
        answer = slow.getresponse()
        got = answer.read(20_000)
        os.kill(served["parent"], signal.SIGHUP)
        eventually(lambda: shown(story, story.device_port) != before, 40)
        while part := answer.read(50_000):
            got += part
            time.sleep(0.1)
        assert got == data
        eventually(lambda: exchanged(story, served) >= LISTENERS, 60)
    finally:
        stop.set()
        thread.join()
        slow.close()
    assert failures == []
    assert polls[0] > 10
    assert not exchanged(story, served) & {"signer", "worker", "status-door"}
    eventually(lambda: not Path(f"/proc/{served['pids']['device-door-1']}").exists(), 30)
