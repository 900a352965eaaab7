"""A server whose blobs lie in a bucket: devices fetch them there by presigned addresses, or through the listener."""

import hashlib
import uuid
from dataclasses import replace

import pytest

from fleet.agent import blobs
from fleet.agent.agent import Agent
from fleet.agent.errors import AnswerError
from fleet.management.quickstart import material
from tests.factories.ports import lease_port
from tests.factories.story import eventually, identity
from tests.peers import s3
from tests.peers.operator import Operator
from tests.peers.s3 import bucket  # noqa: F401  because it is a fixture

pytestmark = [pytest.mark.peer, pytest.mark.xdist_group("story")]
BOARD = "bucket-board"


@pytest.fixture(scope="module")
def server(story, bucket):  # noqa: F811  because it is the fixture above
    """Serve with the bucket; afterwards as before."""
    story.stop()
    story.start(**bucket.settings)
    yield story
    story.stop()
    story.start()


@pytest.fixture(scope="module")
def release(server, tmp_path_factory):
    """Return a release whose image went to the bucket, its bytes, and who made it."""
    operator = Operator(server, tmp_path_factory.mktemp("bucket-operator"))
    operator.board(BOARD)
    archive = material.fetch_archives()["uflash==1.1.0"]
    made = material.build_firmware(server.folder / "offline", tmp_path_factory.mktemp("made"), archive, "4.1.0", 41)
    data = made.files["app.bin"].read_bytes()
    kind = {"board": BOARD, "form": "mcuboot", "name": f"bucket-{uuid.uuid4().hex[:6]}", "component": "app"}
    return operator, operator.release(operator.upload(data, "4.1.0", counter=41, **kind)), data


@pytest.fixture
def offered(server, release, tmp_path):
    """Return a device to which that release is offered."""
    operator, made, data = release
    agent = server.agent(f"bucket-{uuid.uuid4().hex[:6]}", tmp_path / "disk", BOARD)
    rollout = operator.roll_out(made)
    eventually(lambda: operator.progress(rollout)["groups"].get("offered"))
    return agent, hashlib.sha256(data).hexdigest(), data


def get(server, agent, digest, **headers):
    return server.call("GET", f"/v1/blob/{digest}", headers=headers, identity=identity(agent))


def test_a_device_installs_from_the_bucket(server, offered, bucket):  # noqa: F811  because it is the fixture above
    agent, digest, _ = offered
    assert not (server.folder / "blobs" / digest[:2] / digest).exists()
    status, headers, body = get(server, agent, digest)
    assert (status, body) == (307, b"")
    assert headers["location"].startswith(f"{bucket.endpoint}/{s3.BUCKET}/fleet/{digest[:2]}/{digest}?")
    assert headers["cache-control"] == "no-store"
    eventually(lambda: agent.step() and agent.components().get("app", {}).get("version") == "4.1.0", 60)
    assert agent.components()["app"]["confirmed"]


def test_no_log_holds_an_address(server, offered):
    agent, digest, _ = offered
    get(server, agent, digest)
    logs = "".join(path.read_text(errors="replace") for path in (server.folder / "log").glob("*.log"))
    assert digest in logs
    assert "X-Amz-Signature" not in logs


def test_what_needs_no_bytes_is_answered_by_the_listener(server, offered):
    agent, digest, data = offered
    status, headers, _ = server.call("HEAD", f"/v1/blob/{digest}", identity=identity(agent))
    assert (status, headers["content-length"], headers["etag"]) == (200, str(len(data)), f'"{digest}"')
    assert get(server, agent, digest, **{"If-None-Match": f'"{digest}"'})[0] == 304
    assert get(server, agent, digest, Range=f"bytes={len(data)}-")[0] == 416


def test_whoever_may_not_have_it_gets_no_address(server, offered, tmp_path):
    _, digest, _ = offered
    stranger = server.agent(f"bucket-{uuid.uuid4().hex[:6]}", tmp_path / "stranger", BOARD)
    status, headers, _ = get(server, stranger, digest)
    assert status == 404
    assert "location" not in headers
    assert server.call("GET", f"/v1/blob/{digest}")[0] == 401


def test_a_download_goes_on_in_the_bucket_where_it_stopped(server, offered):
    agent, digest, data = offered
    parts = list(
        blobs.stream_blob(agent._server(), digest, len(data), {"Range": "bytes=5000-", "If-Range": f'"{digest}"'})
    )
    assert {status for status, _ in parts} == {206}
    assert b"".join(part for _, part in parts) == data[5000:]


def test_over_coap_the_bytes_come_through_the_listener(server, offered):
    agent, digest, data = offered
    other = Agent(replace(agent.settings, server=f"coaps://localhost:{server.settings['FLEET_COAP_PORT']}"))
    try:
        assert b"".join(part for _, part in blobs.stream_blob(other._server(), digest, len(data))) == data
    finally:
        other.close()


def test_devices_that_follow_no_redirect_get_the_bytes_through_the_listener(server, offered, bucket):  # noqa: F811
    agent, digest, data = offered
    server.stop()
    server.start(**bucket.settings, FLEET_BLOBS_DIRECT="0")
    try:
        status, headers, body = get(server, agent, digest)
        assert (status, body, headers["etag"]) == (200, data, f'"{digest}"')
        status, headers, body = get(server, agent, digest, Range="bytes=100-199")
        assert (status, body) == (206, data[100:200])
        assert headers["content-range"] == f"bytes 100-199/{len(data)}"
    finally:
        server.stop()
        server.start(**bucket.settings)


def test_a_bucket_that_is_away_is_said_so_and_nothing_is_lost(server, offered, bucket):  # noqa: F811
    agent, digest, data = offered
    server.stop()
    server.start(**bucket.settings | {"FLEET_S3_ENDPOINT": f"http://127.0.0.1:{lease_port()}"}, FLEET_BLOBS_DIRECT="0")
    try:
        status, headers, body = get(server, agent, digest, Accept="application/json")
        assert status == 503, body
        assert int(headers["retry-after"]) > 0
        with pytest.raises(AnswerError, match="503"):
            list(blobs.stream_blob(agent._server(), digest, len(data)))
    finally:
        server.stop()
        server.start(**bucket.settings)
    eventually(lambda: agent.step() and agent.components().get("app", {}).get("version") == "4.1.0", 60)
