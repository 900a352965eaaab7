"""Firmware and model that belong together, over the wire: uploaded, signed, rolled out, installed as one."""

import base64
import hashlib
import json

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

from ota.measuring import vectors
from tests.factories import models
from tests.factories.artefacts import public
from tests.factories.story import eventually
from tests.peers.operator import Operator, image_of

pytestmark = pytest.mark.xdist_group("story")
BOARD = "site-node"
MODEL = models.dense(seed=3)


def detached(key, data):
    """Return a detached JWS over a file."""
    word = lambda part: base64.urlsafe_b64encode(part).rstrip(b"=").decode()  # noqa: E731  because it is short
    head = word(b'{"alg":"ES256"}')
    r, s = utils.decode_dss_signature(key.sign(f"{head}.{word(data)}".encode(), ec.ECDSA(hashes.SHA256())))
    return f"{head}..{word(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}".encode()


def upload_model(operator, folder, board):
    key = ec.generate_private_key(ec.SECP256R1())
    operator.trust("site-models", public(key), "tflite")
    parts = {"m.tflite": (MODEL, "image"), "m.jws": (detached(key, MODEL), "signature")}
    parts["golden.cbor"] = (vectors.make_vectors(MODEL), "golden")
    for name, (data, _) in parts.items():
        (folder / name).write_bytes(data)
    files = [
        {"path": name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest(), "role": role}
        for name, (data, role) in parts.items()
    ]
    facts = {
        "schema": 1, "id": "site-wake", "version": "1.0.0", "kind": "model", "format": "tflite", "component": "model.site",
        "security_counter": 1, "audience": ["production"], "files": files,
        "hw": [{name: board[name] for name in ("vendor_id", "class_id", "name")}],
        "requires": [{"component": "app", "min_counter": 7}],
    }  # fmt: skip
    return operator.rest.upload("/bundles", json.dumps(facts).encode(), {name: folder / name for name in parts})


def test_both_are_installed_together_and_the_arena_is_told(story, tmp_path):
    operator = Operator(story, tmp_path)
    board = operator.rest.post(
        "/hardware-models", {"name": BOARD, "vendor": "acme.example", "flash_model": 100_000, "arena": 20_000}
    )
    agent = story.agent("site-device", tmp_path / "device", BOARD)
    data = image_of(50_000, story.folder / "offline" / "firmware-signing.pem", tmp_path)
    kind = {"board": BOARD, "form": "mcuboot", "name": "site-app", "component": "app"}
    members = [operator.upload(data, "7.0.0", counter=7, **kind), upload_model(operator, tmp_path, board)]
    for one in members:
        operator.release(one)
    chosen = [word for one in members for word in ("--part", one["id"])]
    story.manage("bundle", "composite", "site", "1.0.0", "--counter", "1", *chosen, "--out", tmp_path / "set")
    described = (tmp_path / "set" / "bundle.json").read_bytes()
    whole = operator.rest.upload("/bundles", described, {"parts.json": tmp_path / "set" / "parts.json"})
    rollout = operator.roll_out(operator.release(whole))
    eventually(lambda: agent.step() and operator.progress(rollout)["groups"].get("finished"), 60)
    assert agent.slots("app").read_running() == data
    assert agent.slots("model.site").read_running() == MODEL
    runs = story.rest.get(f"/devices/{agent.public_id}")["reported"]["components"]
    assert all(one["confirmed"] for one in runs.values())
    assert set(runs) == {"app", "model.site", "composite"}
    # One device's word about the arena is kept, and decides only together with that of others.
    assert runs["model.site"]["arena"] == 1264
    listed = {one["name"]: one["hardware"] for one in operator.rest.get("/fit?limit=500")["results"]}
    [fits] = listed["site-wake"]
    assert (fits["fits"], fits["arena"]["measured"], fits["arena"]["source"]) == (True, 1264, "measured")
