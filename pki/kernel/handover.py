"""Pass each secret of the environment only to the processes that need it.

``/proc/PID/environ`` shows a process's initial environment for as long as it lives, even if it removes it from
``os.environ``. So a program that finds a secret there moves it into a sealed file in memory (``memfd_create(2)``), one
file per kind of secret, and restarts itself without it. Other processes get a secret by inheriting the descriptor.
"""

import fcntl
import json
import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path

PASSPHRASE, DATABASE, BUCKET = KINDS = ("passphrase", "database", "bucket")
#: Secrets that this server has no use for: no process gets them.
_UNUSED = "unused"
_VAULT = "FLEET_VAULT_PASSPHRASE"
_KNOWN = {
    _VAULT: PASSPHRASE,
    "DATABASE_URL": DATABASE,
    "TELEMETRY_DATABASE_URL": DATABASE,
    "PGPASSWORD": DATABASE,
    "AWS_ACCESS_KEY_ID": BUCKET,
}
#: A mode and a label, in spite of their names.
_PUBLIC = frozenset({"FLEET_VAULT_KEY", "FLEET_PKCS11_TOKEN"})
_SECRET_NAME = re.compile(
    r"(PASSWORD|PASSWD|PASSPHRASE|SECRET|TOKEN|DATABASE_URL|(^|_)KEY|(^|_)PIN)$", re.ASCII | re.IGNORECASE
)
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
_LABEL = "muster-"
_held: dict[str, int] = {}


def kind_of_secret(name: str) -> str | None:
    """Return the kind of secret in an environment variable, ``unused`` if no process needs it, or None."""
    if name in _KNOWN:
        return _KNOWN[name]
    if name in _PUBLIC or not _SECRET_NAME.search(name):
        return None
    return BUCKET if name.startswith("AWS_") else _UNUSED


def hide_secrets(kinds: Iterable[str] = KINDS) -> None:
    """Restart this program, under the same process id, when its environment holds a secret.

    Args:
        kinds: kinds of secrets that this program may hold or pass on; all others are dropped.
    """
    _adopt()
    secrets = {name: value for name, value in os.environ.items() if value and kind_of_secret(name)}
    if not secrets:
        return
    for kind in kinds:
        own = {**read_secrets(kind), **{name: value for name, value in secrets.items() if kind_of_secret(name) == kind}}
        if own:
            _held[kind] = _in_memory(kind, own)
    for descriptor in descriptors_of(kinds):
        os.set_inheritable(descriptor, True)  # noqa: FBT003  because it takes no keyword
    environment = environment_of(kinds)
    clean = {name: value for name, value in environment.items() if name not in secrets}
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], clean)  # noqa: S606  because it is this very program


def read_secrets(kind: str) -> dict[str, str]:
    """Return the secrets of a kind by name: those inherited, and those in ``os.environ``.

    The environment has one only in a program that did not call ``hide_secrets``, or with an empty value.
    """
    _adopt()
    secrets: dict[str, str] = {}
    if kind in _held:
        secrets = json.loads(os.pread(_held[kind], os.fstat(_held[kind]).st_size, 0))
    return {**secrets, **{name: value for name, value in os.environ.items() if kind_of_secret(name) == kind}}


def holds_secret(kind: str) -> bool:
    """Return whether this process has the descriptor of a kind of secret."""
    _adopt()
    return kind in _held


def forget_secrets(*kinds: str) -> None:
    """Close the descriptors of secrets that this process does not need (any longer)."""
    _adopt()
    for kind in kinds:
        if kind in _held:
            os.close(_held.pop(kind))


def take_passphrase() -> str:
    """Return the vault's passphrase and forget it; for the signer."""
    passphrase = read_secrets(PASSPHRASE).get(_VAULT, "")
    forget_secrets(PASSPHRASE)
    os.environ.pop(_VAULT, None)
    return passphrase


def environment_of(kinds: Iterable[str]) -> dict[str, str]:
    """Return the environment for a program that this process starts with ``descriptors_of`` the same kinds.

    Args:
        kinds: of secrets that it may have.
    """
    _adopt()
    given = set(kinds)
    kept = {name: value for name, value in os.environ.items() if kind_of_secret(name) in {None, *given}}
    if BUCKET not in given:
        kept = {name: value for name, value in kept.items() if not name.startswith("AWS_")}
    return kept | {_variable(kind): str(_held[kind]) for kind in given if kind in _held}


def descriptors_of(kinds: Iterable[str]) -> tuple[int, ...]:
    """Return the descriptors of secrets that a program which this process starts inherits (``pass_fds``)."""
    _adopt()
    return tuple(_held[kind] for kind in kinds if kind in _held)


def _adopt() -> None:
    """Take the descriptors that this process was started with; no program that it starts inherits them by itself."""
    for kind in KINDS:
        given = os.environ.pop(_variable(kind), "")
        if not given.isdecimal():
            continue
        try:
            ours = str(Path(f"/proc/self/fd/{int(given)}").readlink()).startswith(f"/memfd:{_LABEL}{kind}")
        except OSError:  # not inherited
            continue
        if ours:
            os.set_inheritable(int(given), False)  # noqa: FBT003  because it takes no keyword
            _held[kind] = int(given)


def _variable(kind: str) -> str:
    return f"FLEET_{kind.upper()}_FD"


def _in_memory(kind: str, secrets: dict[str, str]) -> int:
    """Return the descriptor of a file that its heirs cannot change."""
    descriptor = os.memfd_create(f"{_LABEL}{kind}", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(descriptor, json.dumps(secrets).encode())
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
    return descriptor
