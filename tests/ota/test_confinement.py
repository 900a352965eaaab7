"""A verifier that was taken over gets at nothing, leaves nothing running, and fills nothing."""

import json
import os
import platform
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

from ota import sandbox
from ota.errors import RefusedBundleError
from ota.verifier_sandbox import Bounds
from tests.architecture.sources import ROOT
from tests.ota.hostile import WAYS
from tests.regressions import regression


def attack(folder, act, **body):
    """Run one attack as a verifier would be run; return what the attacker says."""
    image, scratch = folder / "image", folder / "scratch"
    image.write_bytes(b"artefact")
    scratch.mkdir()
    try:
        return sandbox.run_confined("tests.ota.hostile", {"act": act, **body}, {"image": image}, scratch, 60).answer
    finally:
        assert image.read_bytes() == b"artefact"


def alive(mark):
    """Return the processes of a name."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if (place / "comm").read_text().strip() == mark:
                found.append(place.name)
        except OSError:
            continue
    return found


@pytest.fixture
def mark():
    return f"evil-{secrets.token_hex(4)}"


@regression("R5", "a verifier's child that daemonises does not outlive the verdict")
def test_a_daemon_ends_before_the_verdict_counts(tmp_path, mark):
    assert attack(tmp_path, "outlive", mark=mark) == {"escaped": True}
    assert not alive(mark)


@regression("R5", "a fork bomb is bounded, as root too, and none of it is left")
def test_a_fork_bomb_is_bounded_and_ended(tmp_path, mark):
    found = attack(tmp_path, "bomb", mark=mark)
    assert found["refused"] > 0
    assert not alive(mark)


@regression("R5", "scratch space has a quota: names, bytes, files without a name, mapped files, memory files, depth")
@pytest.mark.parametrize("way", WAYS)
def test_scratch_space_is_bounded_and_emptied(tmp_path, way):
    began = os.statvfs(tmp_path).f_bavail
    with pytest.raises(RefusedBundleError, match="disk space"):
        attack(tmp_path, "fill", way=way)
    assert list((tmp_path / "scratch").iterdir()) == []
    assert (began - os.statvfs(tmp_path).f_bavail) * 4096 < 20 * Bounds().scratch


@regression("R5", "several processes together are bounded in memory")
def test_memory_is_bounded_over_all_processes(tmp_path):
    with pytest.raises(RefusedBundleError, match="memory"):
        attack(tmp_path, "greedy")


@regression("R5", "no sockets of any kind, no files, no signals, no tracing, no namespaces")
def test_a_verifier_that_was_taken_over_reaches_nothing(tmp_path):
    secret = tmp_path / "fleet" / "secret"
    secret.parent.mkdir()
    secret.write_text("secret")
    victim = subprocess.Popen(["sleep", "60"])
    try:
        found = attack(tmp_path, "reach", secret=str(secret), server=victim.pid)
        assert victim.poll() is None
    finally:
        victim.kill()
        victim.wait()
    assert {name for name, outcome in found.items() if outcome == "done"} == {"read the artefact"}
    assert len(found) >= 30
    assert secret.read_text() == "secret"


@regression("R5", "modes of files outside stay as they are")
def test_a_verifier_cannot_open_a_file_to_others(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("secret")
    secret.chmod(0o600)
    said = attack(tmp_path, "modes", secret=str(secret))
    assert secret.stat().st_mode & 0o777 == 0o600
    assert said["uid"] != 0


def lesser(kind, mark=""):
    """Return what comes of a verifier where the system gives less."""
    if os.getuid() != 0 or platform.machine() != "x86_64":
        pytest.skip("only root can become the users of this test, and its numbers are those of x86-64")
    done = subprocess.run(
        [sys.executable, "-m", "tests.ota.lesser", kind, mark],
        cwd=ROOT, env=os.environ, check=False, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@regression("R5", "as an ordinary user, with what docker/compose.yml gives, and as a container's root: as promised")
@pytest.mark.parametrize("kind", ["as_user", "container", "docker_root"])
def test_with_fewer_rights_a_verifier_is_confined_as_promised(mark, kind):
    found = lesser(kind, mark)
    assert set(found["holds"]) == {"network", "files", "descendants", "signals", "resources", "scratch"}
    assert found["outlive"] == {"escaped": True}
    assert found["bomb"]["refused"] > 0
    assert not alive(mark)
    assert {name for name, outcome in found["reach"].items() if outcome == "done"} == {"read the artefact"}
    assert found["kept"] == "kept"


@regression("R5", "where a promise cannot be kept, uploads are refused with a sentence")
@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("no_landlock", "files: the kernel has no Landlock"),
        ("no_filters", "network: the kernel or this processor has no system call filter"),
        ("bare_root", "CAP_SETUID"),
    ],
)
def test_less_than_promised_refuses_uploads(kind, words):
    refused = lesser(kind)["refused"]
    assert "Uploads are refused" in refused
    assert words in refused
    assert "doctor" in refused
