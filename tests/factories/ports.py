"""Ports for servers in tests: each belongs to one test process at a time, whatever else runs on the machine."""

import fcntl
import os
import socket
import tempfile
from pathlib import Path

#: below those of benchmarks (from 30000 on) and the ephemeral ones (from 32768 on), which clients get meanwhile
FIRST, LAST = 20_000, 30_000
#: port -> its locked file; the kernel frees the locks of a process that ends, however it ends
_HELD = {}


def lease_ports(count):
    """Return ports that are free for TCP and UDP and that no other test process takes while this one lives.

    A port that is only looked at can be gone when the server binds it: another run on this machine may have seen it
    as free too.

    Raises:
        OSError: all ports are taken.
    """
    folder = Path(tempfile.gettempdir()) / f"muster-test-ports-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = []
    for port in range(FIRST, LAST):
        if len(found) == count:
            return found
        if port not in _HELD and (lock := _locked(folder / str(port), port)):
            _HELD[port] = lock
            found.append(port)
    msg = f"all ports from {FIRST} to {LAST} are taken"
    raise OSError(msg)


def lease_port():
    """Return one port, as ``lease_ports`` does."""
    return lease_ports(1)[0]


def lease_pair():
    """Return the first of two neighbouring ports: an emulated TPM has its control channel at the next one."""
    first, second = lease_ports(2)
    while second != first + 1:
        first, second = second, lease_port()
    return first


def lease_listeners():
    """Return a port for each listener of a server, as text, by the name of its setting."""
    settings = [f"FLEET_{name}_PORT" for name in ("OPERATOR", "DEVICE", "STATUS", "COAP", "OSCORE")]
    return dict(zip(settings, map(str, lease_ports(len(settings))), strict=True))


def _locked(path, port):
    """Return the locked file of a port, or None when somebody has the lock or the port."""
    lock = path.open("ab")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with socket.socket() as stream, socket.socket(type=socket.SOCK_DGRAM) as datagrams:
            stream.bind(("", port))
            datagrams.bind(("", port))
    except OSError:
        lock.close()
        return None
    return lock
