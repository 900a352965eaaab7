"""What an attacker who runs code in a device gateway tries; prints what came of it as JSON.

Run as a process of its own: the confinement lasts as long as the process does.
"""

import ctypes
import json
import os
import stat
import sys
from pathlib import Path

import django

django.setup()

from django.conf import settings  # noqa: E402  because Django has to be set up first

from fleet.management.serving import listeners  # noqa: E402  because Django has to be set up first
from pki.kernel.errors import DomainError  # noqa: E402  because Django has to be set up first
from pki.signer.client import Signer  # noqa: E402  because Django has to be set up first

PTRACE_ATTACH = 16


def attempt(act):
    """Return "done", or why it failed."""
    try:
        act()
    except (OSError, DomainError) as error:
        return type(error).__name__
    return "done"


def trace(pid):
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    if libc.ptrace(PTRACE_ATTACH, pid, None, None) != 0:
        raise PermissionError(ctypes.get_errno(), "ptrace")


def mount():
    """Mount over a folder that may be written."""
    place = str(Path(settings.FLEET_DIR) / "db").encode()
    if ctypes.CDLL(None).mount(b"none", place, b"tmpfs", 0, None) != 0:
        raise PermissionError


def main():
    signer_pid, domain, other = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    folder = Path(settings.FLEET_DIR)
    targets = json.loads(sys.argv[4])
    line = Signer(folder, "door", [domain])
    confined = listeners.confine_listener()
    fields = {"csr": bytes.fromhex(sys.argv[5]), "device_key": sys.argv[6], "device_name": "x"}
    found = {f"read {name}": attempt(Path(name).read_bytes) for name in targets}
    found |= {
        "list keys": attempt(lambda: list((folder / "keys").iterdir())),
        "list secrets": attempt(lambda: list((folder / "secrets").iterdir())),
        "replace the socket": attempt((folder / "run" / "signer.sock").unlink),
        "link a key": attempt(lambda: os.link(targets[0], folder / "db" / "stolen")),
        "signer's memory": attempt(Path(f"/proc/{signer_pid}/mem").read_bytes),
        "end the signer": attempt(lambda: os.kill(signer_pid, 0)),
        "a device file": attempt(lambda: os.mknod(folder / "db" / "disk", stat.S_IFBLK | 0o600, os.makedev(254, 0))),
        "another mount": attempt(mount),
        "signer's environment": attempt(Path(f"/proc/{signer_pid}/environ").read_bytes),
        "signer's root": attempt(lambda: list(Path(f"/proc/{signer_pid}/root{folder}/keys").iterdir())),
        "trace the signer": attempt(lambda: trace(signer_pid)),
        "another role": attempt(lambda: Signer(folder, "admin").ping()),
        "a CA": attempt(lambda: line.create_authority_key(domain, "Evil CA")),
        "a server certificate": attempt(lambda: line.server_identity(domain, ["x.example"])),
        "online keys": attempt(lambda: line.create_online_keys(domain)),
        "snapshot": attempt(lambda: line.sign("snapshot", domain, b"{}")),
        "timestamp": attempt(lambda: line.sign("timestamp", domain, b"{}")),
        "ledger head": attempt(lambda: line.sign("head", domain, b"{}")),
        "another domain": attempt(lambda: line._call("issue_device", other, **fields)),
        "another domain on this line": attempt(lambda: steer(line, domain, other, fields)),
        "its own work": attempt(lambda: line._call("issue_device", domain, **fields)),
        "write the database": attempt(lambda: (folder / "db" / "probe").write_bytes(b"x")),
    }
    sys.stdout.write(json.dumps({"confined": confined, "found": found}))


def steer(line, domain, other, fields):
    """Ask for another domain over the connection that was let in for one's own."""
    line._connections[other] = line._connect(domain)
    line._call("issue_device", other, **fields)


if __name__ == "__main__":
    main()
