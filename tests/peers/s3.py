"""A real S3 service for tests: OpenStack Swift with its s3api, one node in a temporary folder, on loopback.

It checks signatures, expiry and secrets, which mock servers do not.
"""

import getpass
import http.client
import os
import secrets
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.architecture.sources import ROOT
from tests.factories.ports import lease_ports
from tests.factories.story import eventually

PYTHON = ROOT / "var" / "peers" / "swift" / "bin" / "python"
USER, BUCKET = "ota:admin", "muster-blobs"
RINGS = ("account", "container", "object")
FILTERS = (
    "catch_errors gatekeeper healthcheck listing_formats bulk s3api tempauth copy slo dlo versioned_writes symlink"
)
SPECIAL = {
    "versioned_writes": "allow_object_versioning = true",
    "s3api": "location = us-east-1\nmin_segment_size = 5242880\ndns_compliant_bucket_names = true",
}
WHOLE = "[swift-hash]\nswift_hash_path_suffix = test-only\n[storage-policy:0]\nname = gold\ndefault = yes\n"


@dataclass
class Bucket:
    """A running service.

    Args:
        endpoint: its address.
        secret: of the only user.
        processes: its servers.
    """

    endpoint: str
    secret: str
    processes: list

    @property
    def settings(self):
        """Return what a server of ours is told."""
        return {"FLEET_BLOBS": f"s3://{BUCKET}/fleet", "FLEET_S3_ENDPOINT": self.endpoint}

    @property
    def credentials(self):
        return {"AWS_ACCESS_KEY_ID": USER, "AWS_SECRET_ACCESS_KEY": self.secret, "AWS_EC2_METADATA_DISABLED": "true"}

    def stop(self):
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait(timeout=20)


def start(folder):
    """Start four servers with one-replica rings, and make the bucket."""
    if not PYTHON.exists():
        words = "the peer OpenStack Swift is missing; run `make peers`"
        if os.environ.get("CI") == "true":
            pytest.fail(words)
        pytest.skip(words)
    etc, secret = folder / "etc", secrets.token_hex(12)
    for place in (etc, folder / "srv" / "d1"):
        place.mkdir(parents=True)
    ports = dict(zip((*RINGS, "proxy"), lease_ports(len(RINGS) + 1), strict=True))
    (etc / "swift.conf").write_text(WHOLE)
    for name, port in ports.items():
        (etc / f"{name}.conf").write_text(configuration(folder, name, port, secret))
    builder = PYTHON.parent / "swift-ring-builder"
    for name in RINGS:
        add = ("add", f"r1z1-127.0.0.1:{ports[name]}/d1", "1")
        for arguments in (("create", "3", "1", "1"), add, ("rebalance",)):
            command = [builder, etc / f"{name}.builder", *arguments]
            subprocess.run(command, check=True, capture_output=True, cwd=folder)
    made = Bucket(f"http://127.0.0.1:{ports['proxy']}", secret, [daemon(folder, name) for name in ports])
    try:
        await_servers(ports)
        client(made).create_bucket(Bucket=BUCKET)
    except BaseException:
        made.stop()
        raise
    return made


def await_servers(ports):
    """Wait for all of them: a proxy that meets a server which is not up yet leaves it alone for a minute."""
    for name in RINGS:
        port = ports[name]
        eventually(lambda port=port: listens(port), 180, f"Swift's {name} server did not start")
    eventually(lambda: healthy(ports["proxy"]), 180, "Swift's proxy did not start")


def configuration(folder, name, port, secret):
    common = f"[DEFAULT]\nbind_ip = 127.0.0.1\nbind_port = {port}\nworkers = 0\nuser = {getpass.getuser()}\n"
    common += f"swift_dir = {folder}/etc\ndevices = {folder}/srv\nmount_check = false\nlog_level = WARNING\n"
    patient = "conn_timeout = 20\nnode_timeout = 60\n"  # a busy machine is no broken disk
    if name != "proxy":
        return (
            f"{common}[pipeline:main]\npipeline = {name}-server\n[app:{name}-server]\nuse = egg:swift#{name}\n{patient}"
        )
    own = SPECIAL | {"tempauth": f"user_{USER.replace(':', '_')} = {secret} .admin"}
    filters = "".join(f"[filter:{one}]\nuse = egg:swift#{one}\n{own.get(one, '')}\n" for one in FILTERS.split())
    app = "[app:proxy-server]\nuse = egg:swift#proxy\naccount_autocreate = true\n"
    app += f"{patient}error_suppression_limit = 1000000\n"
    return f"{common}[pipeline:main]\npipeline = {FILTERS} proxy-server\n{app}{filters}"


def daemon(folder, name):
    script = Path(__file__).parent / "swift" / "daemon.py"
    command = [PYTHON, script, folder / "etc" / f"{name}.conf", f"{name}-server", folder / "etc" / "swift.conf"]
    with (folder / f"{name}.log").open("wb") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "PYTHONWARNINGS": "ignore"})


def listens(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=2).close()
    except OSError:
        return False
    return True


def healthy(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/healthcheck")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def client(bucket, secret=None):
    """Return a client of the library for looking behind the scenes."""
    import boto3
    from botocore.config import Config

    return boto3.client(
        "s3", endpoint_url=bucket.endpoint, aws_access_key_id=USER, aws_secret_access_key=secret or bucket.secret,
        region_name="us-east-1", config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
    )  # fmt: skip


@pytest.fixture(scope="session")
def bucket(tmp_path_factory):
    """Return a bucket; its credentials stand in the environment of this process and its children."""
    made = start(tmp_path_factory.mktemp("swift"))
    before = {name: os.environ.get(name) for name in made.credentials}
    os.environ.update(made.credentials)
    yield made
    for name, value in before.items():
        if value is None:
            os.environ.pop(name)
        else:
            os.environ[name] = value
    made.stop()
