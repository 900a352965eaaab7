"""The vault's passphrase reaches the signer alone, and stands in no process's environment."""

import json
import os
import secrets
import subprocess
import sys

from tests.architecture.sources import ROOT
from tests.regressions import regression

#: a command of `manage.py` that starts a signer, another program and a fork, as `serve` does, and looks at all of them
LOOK = """
import json, os, time
from pathlib import Path
from django.conf import settings
from fleet.management.serving.supervisor import await_signer, fork, spawn
from pki.kernel import handover

def environ(pid):
    return Path(f"/proc/{pid}/environ").read_bytes().decode()

def open_files(pid):
    return [os.readlink(one) for one in Path(f"/proc/{pid}/fd").iterdir() if one.is_symlink()]

signer = spawn("-m", "pki.signer")
await_signer(settings.FLEET_DIR)
again = spawn("-c", "import time; time.sleep(30)")
forked = fork(lambda: time.sleep(30))
time.sleep(1)
pids = {"self": os.getpid(), "signer": signer, "program": again, "forked": forked}
found = {name: environ(pid) for name, pid in pids.items()}
held = {name: any("memfd:passphrase" in one for one in open_files(pid)) for name, pid in pids.items()}
for pid in (signer, again, forked):
    os.kill(pid, 15)
print("FOUND" + json.dumps({"environ": found, "held": held}))
"""


@regression("R7", "the vault's passphrase stands in the environment of no process, and only the signer reads it")
def test_the_passphrase_reaches_the_signer_alone(tmp_path):
    passphrase = secrets.token_urlsafe(24)
    own = {
        "FLEET_DIR": str(tmp_path), "FLEET_VAULT_KEY": "environment", "FLEET_VAULT_PASSPHRASE": passphrase,
        "DATABASE_URL": "", "AWS_SECRET_ACCESS_KEY": "of-the-bucket",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "manage.py", "shell", "-v", "0", "-c", LOOK],
        cwd=ROOT, env={**os.environ, **own}, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.partition("FOUND")[2])
    assert [name for name, text in found["environ"].items() if passphrase in text] == []
    assert "of-the-bucket" not in found["environ"]["signer"]
    assert "of-the-bucket" in found["environ"]["program"]
    assert found["held"] == {"self": True, "signer": False, "program": False, "forked": False}
