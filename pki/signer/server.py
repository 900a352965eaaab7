"""The signer process: one Unix socket, one secret a role, one short list of operations a role.

The role ``door`` has one secret per domain: a listener authorised for one domain is refused in every other.
"""

import fcntl
import hmac
import logging
import os
import signal
import socketserver
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from pki.kernel import confine, files
from pki.kernel.errors import ConflictError, DeniedError, DomainError, InvalidError, UnauthenticatedError
from pki.signer import frames, metadata
from pki.signer.client import SCOPED, role_secret
from pki.signer.limits import Limits
from pki.signer.log import Log
from pki.signer.operations import Operations
from pki.signer.unlock import ca_token, vault_passphrase
from pki.vault.store import Vault

ROLES: dict[str, frozenset[str]] = {
    "door": frozenset({"issue_device", "sign_director", "sign_time", "oscore_secret"}),
    "work": frozenset({"sign_snapshot", "sign_timestamp", "sign_head", "sign_crl"}),
    "status": frozenset({"ocsp_identity"}),
    "serve": frozenset({"door_identity"}),
    "admin": frozenset(
        {
            "create_authority_key",
            "install_authority",
            "use_authority",
            "create_online_keys",
            "prepare_online_keys",
            "switch_online_keys",
            "retire_online_keys",
            "authority_keys",
            "sign_snapshot",
            "sign_timestamp",
            "sign_head",
            "sign_restore",
        }
    ),
}
ANY = frozenset({"ping", "public_keys", "last_head"})
#: operations that create a domain's first keys
FOUNDING = frozenset({"create_authority_key", "create_online_keys"})
#: frequent operations; their effect is durable elsewhere before a client sees it, so the log need not be synced first
OFTEN = frozenset({"issue_device", "sign_director", "sign_time", "sign_crl", "oscore_secret"})
MAX_CONNECTIONS = 256
IDLE_SECONDS = 600
HELLO_SECONDS = 5
_logger = logging.getLogger("muster.signer")


@dataclass(frozen=True, slots=True)
class SignerClient:
    """Verified identity of a connection.

    Args:
        role: what it may do.
        domain: the only domain in which it may do it; empty for all.
    """

    role: str
    domain: str = ""


class SignerServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Accept connections and run one operation at a time."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = _only_one(files.private_folder(folder / "keys"))
        self.vault = Vault(folder / "keys", vault_passphrase(folder).encode(), ca_token())
        self.operations = Operations(self.vault)
        self._secrets = {role: role_secret(folder, role) for role in ROLES if role not in SCOPED}
        for domain in self.vault.domains():
            self._welcome(domain)
        # In the keys' folder, where no listener can write, and not among the other processes' logs.
        self.log = Log(folder / "keys" / "signer.jsonl")
        self.limits = Limits()
        self.one_at_a_time = threading.Lock()
        self.places = threading.BoundedSemaphore(MAX_CONNECTIONS)
        path = files.private_folder(folder / "run") / "signer.sock"
        path.unlink(missing_ok=True)
        super().__init__(str(path), _Connection)
        path.chmod(0o600)

    def handle_error(self, request: object, client_address: object) -> None:
        """Log an unexpected error; the connection is closed, the process continues."""
        del request, client_address
        _logger.error("a connection failed", exc_info=True)  # noqa: LOG014  because socketserver calls this while it handles the error

    def act(self, peer: SignerClient, request: dict[str, object]) -> Mapping[str, object]:
        """Run one operation for a peer, writing the log before the answer leaves.

        Raises:
            DomainError: not this role's, not its domain, too often, or refused by the operation itself.
        """
        name, domain = str(request.get("op")), str(request.get("domain", ""))
        with self.one_at_a_time:
            self._permit(peer, name, domain)
            # Made-up domains share one bucket: they must neither fill the memory nor get limits of their own.
            self.limits.take(name, domain if self.vault.knows(domain) else "")
            done = self.operations.table[name](domain, request)
            if name in FOUNDING:
                self._welcome(domain)
            if name not in ANY:
                facts = {"role": peer.role, "op": name, "domain": domain, **done.facts}
                self.log.write(facts, wait=name not in OFTEN)
        return done.answer

    def _welcome(self, domain: str) -> None:
        """Make the secrets with which the listeners of a domain authenticate."""
        for role in SCOPED:
            role_secret(self._folder, role, domain)
        metadata.remember_unsigned(self.vault, domain)

    def expected_secret(self, peer: SignerClient) -> str | None:
        """Return the secret that proves a peer, or None when there is no such role or domain."""
        if peer.role not in SCOPED:
            return self._secrets.get(peer.role)
        return role_secret(self._folder, peer.role, peer.domain) if self.vault.knows(peer.domain) else None

    def _permit(self, peer: SignerClient, name: str, domain: str) -> None:
        cause = ""
        if name not in ROLES[peer.role] | ANY:
            cause = f"The role {peer.role} may not run {name[:60]}."
        elif peer.domain and domain != peer.domain:
            cause = f"This {peer.role} is authorised for the domain {peer.domain} only."
        if cause:
            self.limits.take("refused", "")
            refusal = {"role": peer.role, "op": name[:60], "domain": domain[:60], "refused": cause}
            self.log.write(refusal, wait=False)
            raise DeniedError(cause)


class _Connection(socketserver.BaseRequestHandler):
    """One client: it authenticates its role first, then sends requests."""

    server: SignerServer

    def handle(self) -> None:
        """Serve until the client closes, is silent too long, or breaks the framing."""
        if not self.server.places.acquire(blocking=False):
            return
        try:
            self.request.settimeout(HELLO_SECONDS)
            peer = self._peer()
            self.request.settimeout(IDLE_SECONDS)
            while peer and (request := frames.receive_frame(self.request)) is not None:
                frames.send_message(self.request, self._answer(peer, request))
        except (OSError, InvalidError) as error:
            _logger.info("a connection ended early", extra={"cause": str(error)})
        finally:
            self.server.places.release()

    def _peer(self) -> SignerClient | None:
        hello = frames.receive_frame(self.request, frames.MAX_HELLO)
        if hello is None:  # the client only checked whether a signer runs
            return None
        peer, secret = SignerClient(str(hello.get("role")), str(hello.get("domain", ""))), str(hello.get("secret"))
        expected = self.server.expected_secret(peer)
        if expected and hmac.compare_digest(secret.encode(), expected.encode()):
            frames.send_message(self.request, {"ok": True})
            return peer
        _logger.warning("a client failed to authenticate its role")
        frames.send_message(self.request, _refusal(UnauthenticatedError("The role's secret is wrong.")))
        return None

    def _answer(self, peer: SignerClient, request: dict[str, object]) -> dict[str, object]:
        try:
            return {"ok": True, **self.server.act(peer, request)}
        except DomainError as error:
            return _refusal(error)
        except Exception:
            _logger.exception("an operation failed")
            return _refusal(DomainError("The signer failed. See its log."))


def serve_signer(folder: Path) -> None:
    """Serve until SIGTERM or SIGINT."""
    os.umask(0o077)
    confine.forbid_dumps()
    server = SignerServer(folder)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
    try:
        server.serve_forever(poll_interval=0.2)
    finally:
        server.server_close()
        server.log.close()
        Path(str(server.server_address)).unlink(missing_ok=True)


def _only_one(folder: Path) -> TextIO:
    """Hold the folder's lock as long as this process lives: two signers would undo each other's memory.

    Raises:
        ConflictError: another signer holds it.
    """
    lock = (folder / ".signer.lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        msg = f"Another signer already runs for {folder}."
        raise ConflictError(msg) from error
    return lock


def _refusal(error: DomainError) -> dict[str, object]:
    return {"ok": False, "kind": error.kind, "detail": error.detail}
