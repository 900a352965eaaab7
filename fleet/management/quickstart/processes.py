"""Start the demo's processes so that none outlives it, and stop processes of an interrupted run."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from fleet.environment import ROOT
from pki.kernel import confine, handover
from pki.kernel.errors import UnavailableError


@dataclass(slots=True)
class Processes:
    """The child processes of one quickstart: started with its environment, stopped with it.

    Args:
        folder: FLEET_DIR of this demo; ``run/quickstart.json`` in it lists the processes.
        environment: additional environment variables for them.
        patience_s: seconds that a process has to exit on request; then it is killed.
    """

    folder: Path
    environment: dict[str, str]
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    patience_s: float = 10

    def run(self, *arguments: str, timeout: float = 120) -> str:
        """Run one of our commands to completion and return its output.

        Raises:
            UnavailableError: it failed; the message includes its last output.
        """
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=ROOT,
            env=self._environment(*arguments),
            pass_fds=handover.descriptors_of(_secrets_of(*arguments)),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if done.returncode != 0:
            said = (done.stderr or done.stdout).strip().splitlines()[-3:]
            msg = f"`{' '.join(arguments)[:200]}` failed: {' / '.join(said)}"
            raise UnavailableError(msg)
        return done.stdout

    def start(self, name: str, *arguments: str) -> None:
        """Start a process that lives as long as this demo; its output goes to ``log/NAME.log``."""
        log = self.folder / "log" / f"{name}.log"
        log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with log.open("ab") as output:
            self.running[name] = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=ROOT,
                env=self._environment(*arguments),
                pass_fds=handover.descriptors_of(_secrets_of(*arguments)),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                preexec_fn=confine.die_with_parent,  # noqa: PLW1509  because no thread runs yet when children start
            )
        self._remember()

    def check(self) -> None:
        """Raise an error if a process has exited.

        Raises:
            UnavailableError: the message names the process and its log, and quotes the last lines.
        """
        for name, child in self.running.items():
            if child.poll() is not None:
                log = self.folder / "log" / f"{name}.log"
                msg = f"The process {name} exited with {child.returncode}. See {log}. Last lines: {_last_words(log)}"
                raise UnavailableError(msg)

    def stop(self) -> None:
        """Request the processes to exit, newest first, and wait; kill those that do not."""
        for name, child in reversed(self.running.items()):
            _end(child.pid, child, self.patience_s)
            del name
        self.running.clear()
        (self.folder / "run" / "quickstart.json").unlink(missing_ok=True)

    def end_leftovers(self) -> int:
        """Stop the processes of an earlier, killed demo in this folder; return their number."""
        record = self.folder / "run" / "quickstart.json"
        if not record.is_file():
            return 0
        ended = 0
        for pid in json.loads(record.read_text()).values():
            if _is_ours(pid, self.folder):
                _end(pid, None, self.patience_s)
                ended += 1
        record.unlink(missing_ok=True)
        return ended

    def refuse_second_server(self) -> None:
        """Raise an error if another server runs in this folder.

        Raises:
            UnavailableError: the message says which process to stop.
        """
        record = self.folder / "run" / "serve.json"
        parent = json.loads(record.read_text()).get("parent", 0) if record.is_file() else 0
        if parent and _is_ours(parent, self.folder):
            msg = f"A server already runs in {self.folder} (process {parent}). Stop it first, or choose another --dir."
            raise UnavailableError(msg)

    def _environment(self, *arguments: str) -> dict[str, str]:
        given = handover.environment_of(_secrets_of(*arguments))
        return {**given, **self.environment, "FLEET_DIR": str(self.folder)}

    def _remember(self) -> None:
        record = self.folder / "run" / "quickstart.json"
        record.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        record.write_text(json.dumps({name: child.pid for name, child in self.running.items()}))


def _last_words(log: Path) -> str:
    """Return the last lines of a log, on one line."""
    with log.open("rb") as text:
        text.seek(max(0, log.stat().st_size - 2000))
        return " / ".join(text.read().decode(errors="replace").splitlines()[-3:])


def _secrets_of(*arguments: str) -> tuple[str, ...]:
    """Return the kinds of secrets that a program gets: all for server commands, none for devices and officers."""
    return handover.KINDS if arguments[:1] == ("manage.py",) else ()


def free_port(preferred: int, host: str = "127.0.0.1") -> int:
    """Return the wanted port, or the next one that is free (TCP and UDP).

    Raises:
        UnavailableError: a hundred ports in a row are in use.
    """
    for port in range(preferred, preferred + 100):
        with socket.socket() as probe, socket.socket(type=socket.SOCK_DGRAM) as datagrams:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with suppress(OSError):
                probe.bind((host, port))
                datagrams.bind((host, port))
                return port
    msg = f"The ports {preferred} to {preferred + 99} are all in use. Set FLEET_OPERATOR_PORT and FLEET_DEVICE_PORT."
    raise UnavailableError(msg)


def _is_ours(pid: int, folder: Path) -> bool:
    """Return whether a process id still belongs to a process of a demo in this folder."""
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False
    return f"FLEET_DIR={folder}".encode() in environment


def _end(pid: int, child: subprocess.Popen[bytes] | None, patience_s: float) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        if child.poll() is not None if child else not Path(f"/proc/{pid}").exists():
            return
        time.sleep(0.05)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    if child:
        child.wait()
