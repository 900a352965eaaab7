"""What an operator does for the SWUpdate tests, by REST and with the officers' tool: upload, release, roll out."""

import hashlib
import json
import secrets
import subprocess
import sys
import uuid

from imgtool.main import imgtool

from tests.architecture.sources import ROOT
from tests.factories.story import eventually

BOARD = "swu-board"


class Operator:
    """Drives a set-up by its REST API.

    Args:
        story: the set-up.
        folder: for signing requests and signatures.
    """

    def __init__(self, story, folder):
        self.story, self.rest, self.folder = story, story.rest, folder

    def board(self, name=BOARD):
        """Return a hardware model, registered once."""
        known = {row["name"]: row for row in self.rest.get("/hardware-models?limit=500")["results"]}
        if name in known:
            return known[name]
        return self.rest.post("/hardware-models", {"name": name, "vendor": "acme.example"})

    def trust(self, name, pem, form="swu"):
        """Let a key vouch for archives."""
        return self.rest.post("/trust-keys", {"name": name, "format": form, "pem": pem})

    def upload(self, data, version, *, board=BOARD, form="swu", name="rootfs", component="os", counter=None, path=None):
        """Upload an image as a bundle; return the bundle."""
        model = self.board(board)
        file = self.folder / f"{uuid.uuid4().hex}.{form}"
        file.write_bytes(data)
        path = path or f"image.{form}"
        manifest = {
            "schema": 1,
            "id": name,
            "version": version,
            "kind": "firmware",
            "format": form,
            "component": component,
            "security_counter": counter or int(version.split(".")[0]),
            "audience": ["production"],
            "hw": [{name: model[name] for name in ("vendor_id", "class_id", "name")}],
            "files": [{"path": path, "size": len(data), "sha256": hashlib.sha256(data).hexdigest(), "role": "image"}],
        }
        return self.rest.upload("/bundles", json.dumps(manifest).encode(), {path: file})

    def release(self, bundle):
        """Prepare, let two officers sign, publish; return the release."""
        made = self.rest.post("/releases", {"bundle": bundle["id"]})
        request = self.folder / f"{made['id']}.json"
        request.write_text(json.dumps(self.rest.get(f"/statements/{made['statement']}/prepared")))
        for officer in ("anna", "carla"):
            out = self.folder / f"{officer}-{made['id']}.json"
            key = self.story.folder / "offline" / f"{officer}.key"
            command = [
                sys.executable,
                "-m",
                "fleet.officer",
                "sign",
                "--yes",
                "--key",
                key,
                "--root",
                self.story.folder / "offline" / "root.json",
                "--in",
                request,
                "--out",
                out,
            ]
            subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
            self.rest.post(f"/statements/{made['statement']}/signatures", json.loads(out.read_text()))
        self.rest.post(f"/statements/{made['statement']}/publish")
        return self.rest.get(f"/releases/{made['id']}")

    def roll_out(self, release, name=""):
        """Offer a release to every device that it is for; return the rollout."""
        plan = {"name": name or uuid.uuid4().hex, "release": release["id"], "waves": [{"share": 1000}]}
        made = self.rest.post("/rollouts", {**plan, "success_permille": 1, "error_permille": 1000})
        self.rest.post(f"/rollouts/{made['id']}/start")
        return made

    def progress(self, rollout):
        """Return how a rollout stands."""
        return self.rest.get(f"/rollouts/{rollout['id']}")["progress"]


def image_of(size, key, folder):
    """Return an MCUboot image with so many bytes inside, signed by the set-up's own key."""
    flat, image = folder / "app.flat", folder / "app.bin"
    flat.write_bytes(secrets.token_bytes(size))
    command = ["sign", "--key", str(key), "--version", "7.0.0", "--security-counter", "7"]
    command += ["--header-size", "0x200", "--pad-header", "--align", "4", "--slot-size", "0x2000000"]
    imgtool.main([*command, str(flat), str(image)], standalone_mode=False)
    return image.read_bytes()


def offered(story, folder, board, size=1 << 20):
    """Enrol a device on a board of its own and offer it an image, a little more than a megabyte; return both."""
    operator = Operator(story, folder)
    operator.board(board)
    agent = story.agent(f"{board}-{uuid.uuid4().hex[:6]}", folder / board, board)
    data = image_of(size, story.folder / "offline" / "firmware-signing.pem", folder)
    kind = {"board": board, "form": "mcuboot", "name": f"{board}-app", "component": "app"}
    rollout = operator.roll_out(operator.release(operator.upload(data, "7.0.0", counter=7, **kind)))
    eventually(lambda: operator.progress(rollout)["groups"].get("offered"))
    return agent, data
