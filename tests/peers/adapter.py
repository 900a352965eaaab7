"""What ``tests/peers/admin`` runs: one command line that acceptance runs use to drive any update server."""

import json
import os
import re
import sys
import tempfile
from pathlib import Path

from tests.factories.story import Story
from tests.peers.operator import Operator

STATES = {"waiting": "Registered", "scheduled": "Running", "error": "Error", "finished": "Finished"}


def main():
    """Run one act."""
    story = Story(Path(os.environ["FLEET_DIR"]), {}, 0)
    act, *given = sys.argv[1:] or ["help"]
    with tempfile.TemporaryDirectory() as folder:
        operator = Operator(story, Path(folder))
        acts = {"setup": _setup, "upload": _upload, "rollout": _rollout, "device": _device, "log": _log}
        if act not in acts:
            print("usage: admin setup [CA.pem] | upload FILE | rollout ID | device NAME | log NAME | token NAME")
            return 2
        print(acts[act](operator, *given))
    return 0


def _setup(operator, *anchors):
    operator.board()
    for path in anchors:
        operator.trust(f"swu-{Path(path).stem}", Path(path).read_text())
    return "ready"


def _upload(operator, path):
    data = Path(path).read_bytes()
    version = re.search(rb'version\s*=\s*"([^"]+)"', data)[1].decode()
    return operator.release(operator.upload(data, version))["id"]


def _rollout(operator, release):
    return operator.roll_out({"id": release})["id"]


def _device(operator, name):
    rows = [row for row in operator.rest.get(f"/devices?q={name}")["results"] if row["name"] == name]
    if not rows:
        return "null"
    newest = operator.rest.get(f"/assignments?device={name}&limit=1")["results"]
    state = STATES.get(newest[0]["status"], "Running") if newest else "Registered"
    attributes = rows[0]["reported"].get("attributes", {})
    return json.dumps({"last_state": state, "sw_version": attributes.get("sw_version")})


def _log(operator, name):
    rows = operator.rest.get(f"/assignments?device={name}&limit=20")["results"]
    return "\n".join(text for row in rows for text in row["messages"])


if __name__ == "__main__":
    sys.exit(main())
