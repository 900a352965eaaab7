"""Hand a secret of the environment to one process only.

``/proc/PID/environ`` shows what a process was started with for as long as it lives, whatever it removes from
``os.environ``. So a process that finds such a secret moves it into a file in memory and starts itself anew without it;
only the process that needs it inherits the descriptor.
"""

import os
import sys

PASSPHRASE = "FLEET_VAULT_PASSPHRASE"  # noqa: S105  because it is the setting's name
DESCRIPTOR = f"{PASSPHRASE}_FD"
#: What the signer needs not: whoever reads its environment learns nothing of databases and buckets.
_OF_OTHERS = ("DATABASE_URL", "TELEMETRY_DATABASE_URL")
_MOST = 4096


def hide_passphrase() -> None:
    """Start this program anew, under the same process id, when the vault's passphrase is in its environment."""
    secret = os.environ.pop(PASSPHRASE, "")
    if not secret:
        return
    os.environ[DESCRIPTOR] = str(_in_memory(secret, inherited=True))
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], dict(os.environ))  # noqa: S606  because it is this very program


def keep_descriptor() -> int | None:
    """Return the descriptor of the passphrase, which no other program that this process starts inherits; or None."""
    if PASSPHRASE in os.environ:  # not started by `manage.py`
        os.environ[DESCRIPTOR] = str(_in_memory(os.environ.pop(PASSPHRASE), inherited=False))
    try:
        descriptor = int(os.environ.get(DESCRIPTOR, ""))
        os.set_inheritable(descriptor, False)  # noqa: FBT003  because it takes no keyword
    except (ValueError, OSError):
        return None
    return descriptor


def forget_passphrase() -> None:
    """Close the passphrase in a process that was forked and needs it not."""
    descriptor = keep_descriptor()
    if descriptor is not None:
        os.close(descriptor)
    os.environ.pop(DESCRIPTOR, None)


def take_passphrase() -> str:
    """Return the passphrase and forget it; for the signer."""
    descriptor = keep_descriptor()
    if descriptor is None:
        return ""
    secret = os.pread(descriptor, _MOST, 0).decode()
    forget_passphrase()
    return secret


def environment_of(*, signer: bool) -> dict[str, str]:
    """Return the environment for a program that this process starts.

    Args:
        signer: it is the signer, which gets the passphrase's descriptor; no other program does.
    """
    keep_descriptor()
    without = (PASSPHRASE, *(_OF_OTHERS if signer else (DESCRIPTOR,)))
    found = {name: value for name, value in os.environ.items() if name not in without}
    return {name: value for name, value in found.items() if not (signer and name.startswith("AWS_"))}


def _in_memory(secret: str, *, inherited: bool) -> int:
    descriptor = os.memfd_create("passphrase", 0 if inherited else os.MFD_CLOEXEC)
    os.write(descriptor, secret.encode())
    return descriptor
