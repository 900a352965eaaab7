"""The reference agent with its key in a TPM (swtpm behind a resource manager): the disk alone is no device."""

import os
import shutil
import subprocess
import sys
import uuid

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.architecture.sources import ROOT
from tests.factories.ports import lease_pair
from tests.factories.story import eventually
from tests.peers.programs import require

pytestmark = [pytest.mark.peer, pytest.mark.xdist_group("story")]
TCTI = "tabrmd:bus_type=session"
MODULES = ("/usr/lib/x86_64-linux-gnu/ossl-modules/tpm2.so", "/usr/lib/aarch64-linux-gnu/ossl-modules/tpm2.so")


class Chip:
    """One emulated TPM behind a resource manager, as the kernel's /dev/tpmrm0 is one."""

    def __init__(self, folder):
        self.folder, self._processes = folder, []
        state = folder / "state"
        state.mkdir(parents=True)
        subprocess.run(["swtpm_setup", "--tpm2", "--tpmstate", state], check=True, capture_output=True, timeout=60)
        port = lease_pair()
        self._start(
            "swtpm", "socket", "--tpm2", "--tpmstate", f"dir={state}", "--flags", "startup-clear,not-need-init",
            "--server", f"type=tcp,port={port},bindaddr=127.0.0.1", "--ctrl", f"type=tcp,port={port + 1},bindaddr=127.0.0.1",
        )  # fmt: skip
        bus = folder / "bus"
        self._start("dbus-daemon", "--session", "--nofork", f"--address=unix:path={bus}")
        eventually(bus.exists)
        self.environment = {**os.environ, "DBUS_SESSION_BUS_ADDRESS": f"unix:path={bus}"}
        self._start("tpm2-abrmd", "--allow-root", "--session", f"--tcti=swtpm:host=127.0.0.1,port={port}")
        asked = ["tpm2_getcap", "-T", TCTI, "properties-fixed"]
        eventually(lambda: not subprocess.run(asked, env=self.environment, capture_output=True, check=False).returncode)

    def _start(self, *command):
        log = (self.folder / f"{command[0]}.log").open("wb")
        environment = getattr(self, "environment", None)
        self._processes.append(subprocess.Popen(command, stdout=log, stderr=log, env=environment))
        log.close()

    def stop(self):
        for process in reversed(self._processes):
            process.terminate()
            process.wait(timeout=20)


@pytest.fixture(scope="module")
def chips(tmp_path_factory):
    for program in ("swtpm", "swtpm_setup", "tpm2-abrmd", "dbus-daemon", "tpm2_getcap"):
        require(program)
    if not any(map(os.path.exists, MODULES)):
        require("tpm2-openssl")
    made = [Chip(tmp_path_factory.mktemp(f"chip-{number}")) for number in range(2)]
    yield made
    for chip in made:
        chip.stop()


@pytest.fixture(scope="module")
def device(story, chips, tmp_path_factory):
    """Return name and disk of a device that has enrolled with the first TPM."""
    name, disk = f"tpm-{uuid.uuid4().hex[:6]}", tmp_path_factory.mktemp("tpm-agent") / "disk"
    done = run(story, chips[0], name, disk, "--token", story.token(name))
    assert done.returncode == 0, done.stderr
    assert (disk / "chain.pem").exists(), done.stderr
    return name, disk


def run(story, chip, name, disk, *arguments, server=None):
    """Let the agent poll once."""
    models = {row["name"]: row["class_id"] for row in story.rest.get("/hardware-models")["results"]}
    command = [sys.executable, "-m", "fleet.agent", "--dir", disk, "--server", server or story.server, "--once"]
    command += ["--anchor", story.anchor, "--tuf-root", story.folder / "offline" / "root.json"]
    command += ["--hw-class", models["vib-node"], "--name", name, "--tpm", TCTI, *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=chip.environment, capture_output=True, text=True, check=False, timeout=180
    )


def test_a_device_enrols_and_polls_with_a_key_that_never_leaves_its_tpm(story, chips, device):
    name, disk = device
    assert b"BEGIN TSS2 PRIVATE KEY" in (disk / "device.tss2").read_bytes()
    assert not [one for one in disk.rglob("*") if one.is_file() and b"BEGIN PRIVATE KEY" in one.read_bytes()]
    shown = ["openssl", "pkey", "-in", disk / "device.tss2", "-pubout", "-outform", "DER"]
    environment = {**chips[0].environment, "OPENSSL_CONF": str(disk / "openssl-tpm2.cnf"), "TPM2OPENSSL_TCTI": TCTI}
    public = subprocess.run(shown, env=environment, capture_output=True, check=True).stdout
    leaf = x509.load_pem_x509_certificates((disk / "chain.pem").read_bytes())[0]
    assert leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) == public
    done = run(story, chips[0], name, disk)
    assert done.returncode == 0, done.stderr
    assert "does not answer" not in done.stderr, done.stderr
    assert story.device(name)["state"] == "active"


def test_a_stolen_disk_is_no_device(story, chips, device, tmp_path):
    name, disk = device
    stolen = tmp_path / "stolen"
    shutil.copytree(disk, stolen)
    done = run(story, chips[1], name, stolen)
    assert done.returncode == 1, done.stderr
    assert "the TPM operation" in done.stderr


def test_over_dtls_a_key_in_a_tpm_is_refused_with_the_reason(story, chips, tmp_path):
    done = run(story, chips[0], "tpm-dtls", tmp_path / "disk", server="coaps://localhost:5684")
    assert done.returncode == 2
    assert "the DTLS library cannot use a key in a TPM" in done.stderr
