"""Run a verifier where the system gives less: as another user, in a container's confines, on a kernel that lacks something.

``python -m tests.ota.lesser KIND`` changes itself first, for good, then prints what came of it as JSON.
"""

import ctypes
import errno
import json
import os
import sys
import tempfile
from pathlib import Path

from ota import sandbox
from ota.errors import VerifierError
from pki.kernel import privileges, seccomp

USER = 10001  # as in docker/Dockerfile
#: what Docker gives to a root of its own
DOCKER = (0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31)
NAMESPACE_CALLS = ("mount", "umount2", "unshare", "setns", "pivot_root", "move_mount", "open_tree", "fsopen")


def refusing(numbers, code=errno.EPERM, extra=()):
    """Refuse some system calls, as the profile of a container or an older kernel does."""
    steps = [(0x20, 0, 0, 0)]
    for number in numbers:
        steps += seccomp._on(number, [seccomp._answer(0x00050000 | code)])
    assert seccomp.install_filter([*steps, *extra, seccomp._answer(0x7FFF0000)])


def as_user():
    """An ordinary user, for whom the way to the interpreter is open as everywhere; only this process sees it."""
    libc = ctypes.CDLL(None, use_errno=True)
    shut = next((one for one in reversed(Path(sys.base_prefix).parents) if not one.stat().st_mode & 1), None)
    if shut:
        held = tempfile.mkdtemp()
        steps = [
            libc.unshare(0x20000),
            libc.mount(b"none", b"/", None, 1 << 14 | 1 << 18, None),
            libc.mount(sys.base_prefix.encode(), held.encode(), None, 1 << 12, None),
            libc.mount(b"none", str(shut).encode(), b"tmpfs", 0, b"mode=755"),
            Path(sys.base_prefix).mkdir(parents=True) or 0,
            libc.mount(held.encode(), sys.base_prefix.encode(), None, 1 << 12, None),
            libc.umount2(held.encode(), 2),
            Path(held).rmdir() or 0,
        ]
        assert not any(steps), steps
    privileges.become_user(USER)
    privileges.drop_every_capability()


def container():
    """What docker/compose.yml gives: no capability, no new privileges, Docker's filter, an ordinary user."""
    as_user()
    no_namespaces()


def no_namespaces():
    clone = seccomp._on(seccomp._CLONE[0], seccomp._unless([(0x45, 0, 1, 0x7E020000)], argument=0))
    refusing([seccomp._REFUSED[name][0] for name in NAMESPACE_CALLS], extra=clone)


def docker_root():
    """A root with Docker's own capabilities."""
    privileges._shrink_bounding(set(DOCKER))
    privileges._keep(sum(1 << number for number in DOCKER))
    no_namespaces()


def bare_root():
    """A root without capabilities: no limit on processes binds it, and it cannot become anybody else."""
    privileges.drop_every_capability()


def no_landlock():
    refusing([444, 445, 446], errno.ENOSYS)


def no_filters():
    """A kernel without seccomp: the last filter refuses filters."""
    prctl = [
        (0x20, 0, 0, 16),
        (0x15, 0, 1, 22),
        seccomp._answer(0x00050000 | errno.EINVAL),
        seccomp._answer(0x7FFF0000),
    ]
    refusing([317], errno.ENOSYS, extra=seccomp._on(seccomp._PRCTL[0], prctl))


KINDS = {one.__name__: one for one in (as_user, container, docker_root, bare_root, no_landlock, no_filters)}


def main(kind, mark):
    KINDS[kind]()
    with tempfile.TemporaryDirectory() as folder:
        image, scratch, secret = Path(folder, "image"), Path(folder, "scratch"), Path(folder, "secret")
        for path in (image, secret):
            path.write_text("kept")
        scratch.mkdir()
        said = {"uid": os.getuid()}
        try:
            said["holds"] = dict(sandbox.describe_confinement())
            for act in ("outlive", "bomb"):
                said[act] = sandbox.run_confined(
                    "tests.ota.hostile", {"act": act, "mark": mark}, {}, scratch, 20
                ).answer
            reach = {"act": "reach", "secret": str(secret), "server": os.getpid()}
            said["reach"] = sandbox.run_confined("tests.ota.hostile", reach, {"image": image}, scratch, 20).answer
        except VerifierError as error:
            said["refused"] = error.detail
        said["kept"] = secret.read_text()
    sys.stdout.write(json.dumps(said))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
