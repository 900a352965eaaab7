"""The signer process: one Unix socket, one secret a role, one short list of operations a role."""

import hmac
import json
import logging
import os
import secrets
import signal
import socketserver
import threading
from pathlib import Path
from typing import Any

from pki.kernel import clock, confine, files
from pki.kernel.errors import DeniedError, DomainError, InvalidError, UnauthenticatedError
from pki.signer import frames
from pki.signer.client import role_secret
from pki.signer.limits import Limits
from pki.signer.operations import Operations
from pki.vault.store import Vault

ROLES: dict[str, frozenset[str]] = {
    "door": frozenset({"issue_device", "sign_director", "sign_time"}),
    "work": frozenset({"sign_snapshot", "sign_timestamp", "sign_head"}),
    "serve": frozenset({"door_identity"}),
    "admin": frozenset(
        {
            "create_authority_key",
            "install_authority",
            "create_online_keys",
            "sign_snapshot",
            "sign_timestamp",
            "sign_head",
        }
    ),
}
ANY = frozenset({"ping", "public_keys"})
MAX_CONNECTIONS = 64
IDLE_SECONDS = 600
_logger = logging.getLogger("muster.signer")


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Accept connections and run one operation at a time."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, folder: Path) -> None:
        secret = files.secret_once(folder / "secrets" / "vault.key", lambda: secrets.token_urlsafe(48))
        self.operations = Operations(Vault(folder / "keys", secret.encode()))
        self.secrets = {role: role_secret(folder, role) for role in ROLES}
        self.log = files.private_folder(folder / "log") / "signer.jsonl"
        self.limits = Limits()
        self.one_at_a_time = threading.Lock()
        self.places = threading.BoundedSemaphore(MAX_CONNECTIONS)
        path = files.private_folder(folder / "run") / "signer.sock"
        path.unlink(missing_ok=True)
        super().__init__(str(path), _Connection)
        path.chmod(0o600)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log what no handler foresaw; the connection is closed, the process goes on."""
        del request, client_address
        _logger.error("a connection failed", exc_info=True)  # noqa: LOG014  because socketserver calls this while it handles the error

    def act(self, role: str, request: dict[str, Any]) -> dict[str, Any]:
        """Run one operation for a role, writing the log before the answer leaves.

        Raises:
            DomainError: not this role's, too often, or refused by the operation itself.
        """
        name, domain = str(request.get("op")), str(request.get("domain", ""))
        if name not in ROLES[role] | ANY:
            self._write({"role": role, "op": name[:60], "domain": domain[:60], "refused": "role"})
            msg = f"The role {role} may not run {name[:60]}."
            raise DeniedError(msg)
        with self.one_at_a_time:
            self.limits.take(name)
            done = self.operations.table[name](domain, request)
            if name not in ANY:
                self._write({"role": role, "op": name, "domain": domain, **done.facts})
        return done.answer

    def _write(self, facts: dict[str, Any]) -> None:
        line = {"at": clock.now().isoformat(), **facts}
        files.append_line(self.log, json.dumps(line, sort_keys=True).encode())


class _Connection(socketserver.BaseRequestHandler):
    """One client: it proves its role first, then asks."""

    server: Server

    def handle(self) -> None:
        """Serve until the client closes, is silent too long, or breaks the framing."""
        if not self.server.places.acquire(blocking=False):
            return
        try:
            self.request.settimeout(IDLE_SECONDS)
            role = self._role()
            while role and (request := frames.receive(self.request)) is not None:
                frames.send(self.request, self._answer(role, request))
        except (OSError, InvalidError) as error:
            _logger.info("a connection ended early", extra={"cause": str(error)})
        finally:
            self.server.places.release()

    def _role(self) -> str | None:
        hello = frames.receive(self.request) or {}
        role, secret = hello.get("role"), hello.get("secret")
        expected = self.server.secrets.get(role) if isinstance(role, str) else None
        if expected and isinstance(secret, str) and hmac.compare_digest(secret.encode(), expected.encode()):
            frames.send(self.request, {"ok": True})
            return str(role)
        _logger.warning("a client did not prove its role")
        frames.send(self.request, _refusal(UnauthenticatedError("The role's secret is wrong.")))
        return None

    def _answer(self, role: str, request: dict[str, Any]) -> dict[str, Any]:
        try:
            return {"ok": True, **self.server.act(role, request)}
        except DomainError as error:
            return _refusal(error)
        except Exception:
            _logger.exception("an operation failed")
            return _refusal(DomainError("The signer failed; its log says why."))


def run(folder: Path) -> None:
    """Serve until SIGTERM or SIGINT."""
    os.umask(0o077)
    confine.undumpable()
    server = Server(folder)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
    try:
        server.serve_forever(poll_interval=0.2)
    finally:
        server.server_close()
        Path(str(server.server_address)).unlink(missing_ok=True)


def _refusal(error: DomainError) -> dict[str, Any]:
    return {"ok": False, "kind": error.kind, "detail": error.detail}
