"""Talk to the signer: typed calls over its Unix socket."""

import secrets
import socket
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from pki.errors import SignerError
from pki.kernel import files
from pki.kernel.errors import DeniedError, InvalidError, LimitedError, NotFoundError
from pki.signer import frames

_KINDS = {error.kind: error for error in (DeniedError, InvalidError, LimitedError, NotFoundError)}
_TIMEOUT = 15


class Signer:
    """One role's connection to the signer; safe for threads, reconnects by itself.

    Args:
        folder: FLEET_DIR.
        role: door, work, serve or admin; its secret is read here, once.
    """

    def __init__(self, folder: Path, role: str) -> None:
        self._address = str(folder / "run" / "signer.sock")
        self._role = role
        try:
            self._secret = (folder / "secrets" / f"signer-{role}").read_text().strip()
        except OSError as error:
            msg = "The signer has not run here yet, or this process may not use it; start `manage.py serve`."
            raise SignerError(msg) from error
        self._lock = threading.Lock()
        self._connection: socket.socket | None = None

    def issue_device(self, domain: str, csr: bytes, device_key: str, device_name: str) -> bytes:
        """Return a new device certificate in DER for the key of a DER request."""
        names = {"csr": csr, "device_key": device_key, "device_name": device_name}
        return bytes(self._call("issue_device", domain, **names)["certificate"])

    def door_identity(self, domain: str, host_names: list[str]) -> tuple[bytes, bytes, list[bytes]]:
        """Return a TLS key (PEM), its certificate (DER) and the CA certificates above it (DER)."""
        answer = self._call("door_identity", domain, host_names=host_names)
        return answer["key"], answer["certificate"], answer["chain"]

    def create_authority_key(self, domain: str, name: str) -> bytes:
        """Return the PEM request of the domain's issuing CA."""
        return bytes(self._call("create_authority_key", domain, name=name)["csr"])

    def install_authority(self, domain: str, certificate: bytes, root: bytes) -> None:
        """Give the signer the issuing CA's certificate (PEM or DER)."""
        self._call("install_authority", domain, certificate=certificate, root=root)

    def create_online_keys(self, domain: str) -> dict[str, dict[str, Any]]:
        """Make the missing online keys; return the public half of each by name."""
        return dict(self._call("create_online_keys", domain)["keys"])

    def public_keys(self, domain: str) -> dict[str, dict[str, Any]]:
        """Return the public half of each online key by name."""
        return dict(self._call("public_keys", domain)["keys"])

    def sign(self, document: str, domain: str, payload: bytes) -> dict[str, str]:
        """Return {"keyid", "sig"} over a canonical document.

        Args:
            document: snapshot, timestamp, director, time or head.
            domain: slug.
            payload: its canonical bytes.
        """
        answer = self._call(f"sign_{document}", domain, payload=payload)
        return {"keyid": answer["keyid"], "sig": answer["sig"]}

    def ping(self) -> None:
        """Return when the signer answers."""
        self._call("ping", "")

    def close(self) -> None:
        """Drop the connection; the next call makes a new one."""
        with self._lock:
            self._drop()

    def _call(self, operation: str, domain: str, **fields: object) -> dict[str, Any]:
        request = {"op": operation, "domain": domain, **fields}
        with self._lock:
            try:
                answer = self._exchange(request)
            except (OSError, InvalidError) as error:
                self._drop()
                msg = "The signer does not answer; is `manage.py serve` running?"
                raise SignerError(msg) from error
        if answer.get("ok"):
            return answer
        kind = _KINDS.get(str(answer.get("kind")), SignerError)
        raise kind(str(answer.get("detail")))

    def _exchange(self, request: dict[str, Any]) -> dict[str, Any]:
        reused = self._connection is not None
        try:
            return self._once(request)
        except (OSError, InvalidError):
            self._drop()
            if not reused:
                raise
            return self._once(request)

    def _once(self, request: dict[str, Any]) -> dict[str, Any]:
        if self._connection is None:
            self._connection = self._connect()
        frames.send(self._connection, request)
        answer = frames.receive(self._connection)
        if answer is None:
            msg = "The signer closed the connection."
            raise InvalidError(msg)
        return answer

    def _connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(_TIMEOUT)
        try:
            connection.connect(self._address)
            frames.send(connection, {"role": self._role, "secret": self._secret})
            _demand_welcome(frames.receive(connection))
        except BaseException:
            connection.close()
            raise
        return connection

    def _drop(self) -> None:
        if self._connection is not None:
            with suppress(OSError):
                self._connection.close()
            self._connection = None


def _demand_welcome(answer: dict[str, Any] | None) -> None:
    if not (answer or {}).get("ok"):
        msg = "The signer does not accept this process's secret."
        raise DeniedError(msg)


def listening(folder: Path) -> bool:
    """Say whether a signer answers in this folder."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(folder / "run" / "signer.sock"))
        except OSError:
            return False
        return True


def role_secret(folder: Path, role: str) -> str:
    """Return the secret by which a role proves itself, made at its first use."""
    return files.secret_once(folder / "secrets" / f"signer-{role}", lambda: secrets.token_urlsafe(48))
