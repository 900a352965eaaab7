"""Start the server's processes, restart those that die, stop all together."""

import json
import logging
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from django.db import connections

from fleet import environment
from fleet.environment import ROOT
from pki.kernel import confine, handover
from pki.kernel.errors import DomainError, UnavailableError
from pki.signer.client import is_signer_listening

_logger = logging.getLogger("muster.serve")
PATIENCE = 10.0
#: lifetime of the listeners' certificates, keys and ticket keys: one day; if the signer does not answer, retry
RENEW_SECONDS, RETRY_SECONDS = 24 * 3600.0, 600.0
#: overlap of the old and the new process; then the time that the old one has for its last requests
HANDOVER_SECONDS, DRAIN_SECONDS = 1.0, 900.0
MOST_FILES = 65_536
MOST_BACKOFF = 30.0


class Renewal(Enum):
    """How a process gets a new certificate."""

    NONE = "none"
    #: a new process serves beside the old one, which exits when its last connection ends
    ROLLING = "rolling"
    #: stopped and started again: it owns a socket that two processes cannot share
    RESTART = "restart"


@dataclass(slots=True)
class Child:
    """One process of the server.

    Args:
        name: for the log and ``run/serve.json``.
        launch: starts the process and returns its process id.
        pid: process id while it runs, or 0.
        failures: consecutive deaths, for the back-off.
        again_at: earliest restart (monotonic seconds).
        renewal: how it gets a new certificate.
    """

    name: str
    launch: Callable[[], int]
    pid: int = 0
    started: float = 0.0
    failures: int = 0
    again_at: float = 0.0
    renewal: Renewal = Renewal.NONE


@dataclass(slots=True)
class Supervisor:
    """The parent process; it serves no requests itself.

    Args:
        folder: of the installation.
        urls: of the listeners, by name.
        remake: creates new certificates for the listeners, which are then replaced, daily or on SIGHUP.
    """

    folder: Path
    urls: dict[str, str]
    remake: Callable[[], None]
    children: list[Child] = field(default_factory=list)
    stopping: bool = False
    renew_at: float = field(default_factory=lambda: time.monotonic() + RENEW_SECONDS)
    leaving: dict[int, float] = field(default_factory=dict)

    def add(self, name: str, launch: Callable[[], int], renewal: Renewal = Renewal.NONE) -> None:
        """Add a process."""
        self.children.append(Child(name, launch, renewal=renewal))

    @staticmethod
    def raise_limits() -> None:
        """Raise the limit of open files to the hard limit, so that listeners can hold thousands of connections."""
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        with suppress(ValueError, OSError):  # root may exceed the hard limit
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(most, MOST_FILES), max(most, MOST_FILES)))

    def run(self) -> None:
        """Start all processes and supervise them until SIGTERM or SIGINT."""
        if handover.holds_secret(handover.PASSPHRASE):
            confine.forbid_dumps()  # it keeps the passphrase, to restart the signer
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGHUP, self._renew_now)
        while not self.stopping:
            for child in self.children:
                self._tend(child)
            if time.monotonic() >= self.renew_at:
                self._renew()
            self._see_off()
            time.sleep(0.1)
        self.end()

    def end(self) -> None:
        """Stop the children in parallel; the first one last, since the others request signatures from it."""
        first, *others = [child.pid for child in self.children if child.pid] or [0]
        _end(*others, *self.leaving)
        _end(*filter(None, [first]))
        (self.folder / "run" / "serve.json").unlink(missing_ok=True)

    def _tend(self, child: Child) -> None:
        if self.stopping:
            return
        if child.pid and _gone(child.pid):
            _logger.error("a process died", extra={"child": child.name, "child_pid": child.pid})
            quick = time.monotonic() - child.started < PATIENCE
            child.failures = child.failures + 1 if quick else 1
            child.again_at = time.monotonic() + min(0.2 * 2**child.failures, MOST_BACKOFF)
            child.pid = 0
        if not child.pid and time.monotonic() >= child.again_at and not self.stopping:
            child.pid, child.started = child.launch(), time.monotonic()
            self._write()

    def _renew(self) -> None:
        """Replace the listeners with ones that have new certificates; without a signer, the current ones continue."""
        try:
            self.remake()
        except (DomainError, OSError) as error:
            _logger.warning("new certificates for the listeners are not available yet", extra={"cause": str(error)})
            self.renew_at = time.monotonic() + RETRY_SECONDS
            return
        self.renew_at = time.monotonic() + RENEW_SECONDS
        for child in self.children:
            old, fresh = child.pid, 0
            if child.renewal is Renewal.NONE or not old:
                continue
            if child.renewal is Renewal.RESTART:
                _end(old)
            fresh = child.launch()
            if child.renewal is Renewal.ROLLING:
                self.leaving[old] = time.monotonic() + DRAIN_SECONDS
                time.sleep(HANDOVER_SECONDS)
                os.kill(old, signal.SIGUSR1)
            child.pid, child.started = fresh, time.monotonic()
            self._write()
        _logger.info("the listeners have new certificates")

    def _see_off(self) -> None:
        """Wait for listeners that serve their last connections, up to a time limit."""
        for pid, deadline in list(self.leaving.items()):
            if _gone(pid):
                del self.leaving[pid]
            elif time.monotonic() > deadline:
                _end(pid)
                del self.leaving[pid]

    def _renew_now(self, *_: object) -> None:
        self.renew_at = 0.0

    def _write(self) -> None:
        facts = {
            "pids": {child.name: child.pid for child in self.children},
            "urls": self.urls,
            "parent": os.getpid(),
        }
        record = self.folder / "run" / "serve.json"
        fresh = record.with_suffix(".new")
        fresh.write_text(json.dumps(facts))
        fresh.replace(record)  # atomic: a reader never sees a partial file

    def _stop(self, *_: object) -> None:
        self.stopping = True


def spawn_program(*arguments: str) -> int:
    """Start one of our programs and return its process id."""
    signer = arguments[:2] == ("-m", "pki.signer")
    secrets = [handover.PASSPHRASE] if signer else [handover.DATABASE, handover.BUCKET]
    child = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**handover.environment_of(secrets), **environment.signer_settings()},
        stdin=subprocess.DEVNULL,
        pass_fds=handover.descriptors_of(secrets),
        preexec_fn=confine.die_with_parent,  # noqa: PLW1509  because the supervisor has no threads
    )
    return child.pid


def fork_server(serve: Callable[[], None], *, bucket: bool = True) -> int:
    """Fork a process that runs ``serve`` and exits with it; return its process id.

    Args:
        serve: runs in the new process, which has already read the database's address.
        bucket: whether it needs the credentials of the bucket.
    """
    connections.close_all()
    pid = os.fork()
    if pid:
        return pid
    confine.die_with_parent()
    handover.forget_secrets(handover.PASSPHRASE, handover.DATABASE, *(() if bucket else (handover.BUCKET,)))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    try:
        serve()
    except BaseException:
        _logger.exception("a listener failed")
        os._exit(1)
    os._exit(0)


def listen_tcp(host: str, port: int) -> socket.socket:
    """Return a listening socket for the workers to inherit.

    Raises:
        UnavailableError: the port is in use or not permitted.
    """
    listener = _bound(host, port, socket.SOCK_STREAM)
    listener.listen(2048)
    return listener


def bind_udp(host: str, port: int) -> socket.socket:
    """Return a bound UDP socket for the one process that serves it.

    Raises:
        UnavailableError: the port is in use or not permitted.
    """
    bound = _bound(host, port, socket.SOCK_DGRAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    bound.setblocking(False)  # noqa: FBT003  because the socket module has no keyword for it
    return bound


def _bound(host: str, port: int, kind: socket.SocketKind) -> socket.socket:
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind)
    if kind is socket.SOCK_STREAM:  # with UDP, a second server would silently receive half of the datagrams
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        name = "UDP port" if kind is socket.SOCK_DGRAM else "Port"
        msg = f"{name} {port} on {host} is not available: {error.strerror}. Choose another port in fleet.env."
        raise UnavailableError(msg) from error
    bound.set_inheritable(True)
    return bound


def signer_running(folder: Path) -> Callable[[], None]:
    """Start the signer unless one runs for this folder; return a function that stops it.

    Raises:
        UnavailableError: the signer does not start.
    """
    if is_signer_listening(folder):
        return lambda: None
    pid = spawn_program("-m", "pki.signer")
    try:
        await_signer(folder)
    except UnavailableError:
        _end(pid)
        raise
    return lambda: _end(pid)


def await_signer(folder: Path) -> None:
    """Wait until a signer answers in this folder.

    Raises:
        UnavailableError: none answers within ten seconds.
    """
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if is_signer_listening(folder):
            return
        time.sleep(0.05)
    msg = "The signer does not start. Run `python -m pki.signer` to see the error."
    raise UnavailableError(msg)


def _gone(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True


def _end(*pids: int) -> None:
    """Stop processes together; kill those that do not exit in time."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    deadline, left = time.monotonic() + PATIENCE, list(pids)
    while (left := [pid for pid in left if not _gone(pid)]) and time.monotonic() < deadline:
        time.sleep(0.02)
    for pid in left:
        with suppress(ProcessLookupError, ChildProcessError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
