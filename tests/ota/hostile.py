"""A verifier that was taken over: what its code then tries, one attempt a run; prints nothing of its own.

Run as ``python -m tests.ota.hostile`` by ``ota.sandbox`` only.
"""

import ctypes
import errno
import hashlib
import mmap
import os
import signal
import socket
import sys
import time
from pathlib import Path

from ota import verifier_sandbox
from ota.verifier_sandbox import Bounds

MARK = "muster-hostile-"


def attempt(act):
    """Return "done", or the name of the error."""
    try:
        act()
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error))
    return "done"


def linger(mark):
    """Become a process that would be found by its name, and stay."""
    ctypes.CDLL(None).prctl(15, mark.encode(), 0, 0, 0)
    time.sleep(300)
    os._exit(0)


def daemonise(mark):
    """Leave parent, group and session as far as that is allowed, twice forked."""
    if os.fork() == 0:
        attempt(os.setsid)
        attempt(lambda: os.setpgid(0, 0))
        if os.fork() == 0:
            attempt(os.setsid)
            for number in (signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            linger(mark)
        os._exit(0)


def outlive(request):
    daemonise(request.body["mark"])
    return {"escaped": True}


def bomb(request):
    """Fork as long as it goes; every process forks on."""
    mark, refused, stop = request.body["mark"], 0, time.monotonic() + 1
    ctypes.CDLL(None).prctl(15, mark.encode(), 0, 0, 0)
    most = 0
    while time.monotonic() < stop:
        try:
            if os.fork() == 0:
                attempt(os.setsid)
                stop = time.monotonic() + 300
            else:
                most += 1
        except OSError:
            refused += 1
            time.sleep(0.01)
    return {"refused": refused, "forked": most}


def fill(request):
    """Write as much as it can in the asked way, then wait to be found."""
    WAYS[request.body["way"]](request.scratch)
    time.sleep(300)
    return {}


def many(folder):
    for number in range(100_000):
        os.close(os.open(folder / str(number), os.O_CREAT | os.O_WRONLY))


def large(folder):
    piece = bytes(1 << 20)
    for number in range(1000):
        with (folder / str(number)).open("wb") as file:
            for _ in range(8):
                file.write(piece)


def nameless(folder):
    piece, kept = bytes(1 << 20), []
    for _ in range(200):
        file = os.open(folder, os.O_TMPFILE | os.O_RDWR, 0o600)
        kept.append(file)
        for _ in range(8):
            os.write(file, piece)


def mapped(folder):
    kept = []
    for _ in range(100):
        file = os.open(folder, os.O_TMPFILE | os.O_RDWR, 0o600)
        os.ftruncate(file, 8 << 20)
        kept.append(mmap.mmap(file, 8 << 20))
        os.close(file)
        for at in range(0, 8 << 20, 4096):
            kept[-1][at] = 1


def in_memory(_folder):
    piece, kept = bytes(1 << 20), []
    for number in range(200):
        kept.append(os.memfd_create(str(number)))
        for _ in range(8):
            os.write(kept[-1], piece)


def deep(folder):
    os.chdir(folder)
    for _ in range(3000):
        Path("d").mkdir(0o700)
        os.chdir("d")


def shut(folder):
    (folder / "shut").mkdir(0o700)
    (folder / "shut" / "inner").mkdir(0)
    many(folder)


WAYS = {one.__name__: one for one in (many, large, nameless, mapped, in_memory, deep, shut)}


def greedy(request):
    """Take memory in several processes, each below its own limit."""
    for _ in range(2):
        if os.fork() == 0:
            break
    kept = bytearray(600 << 20)
    for at in range(0, len(kept), 4096):
        kept[at] = 1
    time.sleep(30)
    return {}


def reach(request):
    """Try everything that is out of bounds, and say what came of it."""
    secret, parent, server = Path(request.body["secret"]), os.getppid(), request.body["server"]
    sockets = {
        "IPv4": (socket.AF_INET, socket.SOCK_STREAM), "UDP": (socket.AF_INET, socket.SOCK_DGRAM),
        "IPv6": (socket.AF_INET6, socket.SOCK_STREAM), "netlink": (socket.AF_NETLINK, socket.SOCK_RAW),
        "packet": (socket.AF_PACKET, socket.SOCK_RAW), "vsock": (40, socket.SOCK_STREAM), "unix": (socket.AF_UNIX, 1),
    }  # fmt: skip
    found = {
        f"socket {name}": attempt(lambda kind=kind: socket.socket(*kind).close()) for name, kind in sockets.items()
    }
    libc = ctypes.CDLL(None, use_errno=True)

    def call(number, *arguments):
        if libc.syscall(number, *arguments) < 0:
            raise OSError(ctypes.get_errno(), "")

    return found | {
        "read the artefact": attempt(request.given("image").read_bytes),
        "datagrams to a name": attempt(lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)),
        "read passwords": attempt(Path("/etc/shadow").read_bytes),
        "read a secret": attempt(secret.read_bytes),
        "list a folder": attempt(lambda: list(secret.parent.iterdir())),
        "write outside": attempt(lambda: (secret.parent / "new").write_bytes(b"x")),
        "cut a file": attempt(lambda: os.truncate(secret, 0)),
        "remove a file": attempt(secret.unlink),
        "rename a file": attempt(lambda: secret.rename(request.scratch / "stolen")),
        "link a file": attempt(lambda: os.link(secret, request.scratch / "linked")),
        "read through a link": attempt(lambda: _linked(request.scratch / "soft", secret)),
        "change the artefact": attempt(lambda: os.open(request.given("image"), os.O_WRONLY)),
        "environment of the server": attempt(Path(f"/proc/{server}/environ").read_bytes),
        "memory of the server": attempt(lambda: os.open(f"/proc/{server}/mem", os.O_RDWR)),
        "end the server": attempt(lambda: os.kill(server, signal.SIGTERM)),
        "end the supervisor": attempt(lambda: os.kill(parent or server, signal.SIGKILL)),
        "a user namespace": attempt(lambda: call(272, 0x10000000)),
        "a mount": attempt(lambda: call(165, b"none", b"/", b"tmpfs", 0, 0)),
        "trace": attempt(lambda: call(101, 16, server, 0, 0)),
        "kernel keys": attempt(lambda: call(250, 0, -3, 0)),
        "programs in the kernel": attempt(lambda: call(321, 5, 0, 0)),
        "io_uring": attempt(lambda: call(425, 8, 0)),
        "userfaultfd": attempt(lambda: call(323, 1)),
        "a file by its handle": attempt(lambda: call(304, -100, 0, 0)),
        "root again": attempt(lambda: os.setresuid(0, 0, 0)),
    }


def _linked(link, secret):
    link.symlink_to(secret)
    link.read_bytes()


def modes(request):
    """Change a file's mode, which Landlock lets pass."""
    Path(request.body["secret"]).chmod(0o644)
    return {"uid": os.getuid()}


def digest(request):
    """Say what the artefact holds."""
    return {"sha256": hashlib.sha256(request.given("image").read_bytes()).hexdigest()}


ACTS = {one.__name__: one for one in (digest, outlive, bomb, fill, greedy, reach, modes)}


def main():
    """Run one attack, inside."""
    request = verifier_sandbox.read_sandbox_request()
    verifier_sandbox.run_child(request, Bounds(), lambda asked: ACTS[asked.body["act"]](asked))


if __name__ == "__main__":
    sys.exit(main())
