"""Talk to the signer: typed calls over its Unix socket."""

import secrets
import socket
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TypedDict

from pki.errors import SignerError
from pki.kernel import files
from pki.kernel.errors import DeniedError, InvalidError, LimitedError, NotFoundError
from pki.kernel.public_keys import TufKey
from pki.ledger.heads import RememberedHead
from pki.profiles import DEVICE, CertificateRules
from pki.signer import answers, frames

_KINDS = {str(error.kind): error for error in (DeniedError, InvalidError, LimitedError, NotFoundError)}
_TIMEOUT = 15
#: Roles that have one secret a domain.
SCOPED = frozenset({"door"})
#: Connections that one process keeps open; a listener of many domains closes the oldest first.
MOST_CONNECTIONS = 8


class SignedCrl(TypedDict):
    """One shard of a revocation list: DER, CRLNumber, and RFC 3339 time up to which it holds."""

    crl: bytes
    number: int
    until: str


class Signer:
    """One role's line to the signer; safe for threads, reconnects by itself.

    Args:
        folder: FLEET_DIR.
        role: ``door``, ``work``, ``status``, ``serve`` or ``admin``.
        domains: that a gateway serves; its secrets are read here, once, before it gives up file access.
    """

    def __init__(self, folder: Path, role: str, domains: Iterable[str] = ()) -> None:
        self._folder = folder
        self._role = role
        self._lock = threading.Lock()
        self._secrets: dict[str, str] = {}
        self._connections: dict[str, socket.socket] = {}
        for domain in domains if role in SCOPED else ("",):
            self._secret(domain)

    def issue_device(
        self, domain: str, csr: bytes, device_key: str, device_name: str, profile: CertificateRules = DEVICE
    ) -> tuple[bytes, bytes]:
        """Return a new device certificate in DER, as a profile wants it, for the key of a DER request.

        Without a request the signer makes a key and returns it as PKCS#8 in DER; else the second part is empty.
        """
        fields = {
            "csr": csr,
            "device_key": device_key,
            "device_name": device_name,
            "days": profile.validity.days,
            "key_types": sorted(profile.key_types),
            "authority": profile.authority,
        }
        answer = self._call("issue_device", domain, **fields)
        return answers.bytes_of_answer(answer, "certificate"), answers.bytes_of_answer(
            answer, "key"
        ) if "key" in answer else b""

    def sign_crl(self, domain: str, authority: str, shard: int, entries: bytes) -> SignedCrl:
        """Return one shard of a CA's revocation list, signed."""
        answer = self._call("sign_crl", domain, authority=authority, shard=shard, entries=entries)
        number, until = answers.number_of_answer(answer, "number"), answers.text_of_answer(answer, "until")
        return SignedCrl(crl=answers.bytes_of_answer(answer, "crl"), number=number, until=until)

    def ocsp_identity(self, domain: str, authority: str) -> tuple[bytes, bytes, bytes]:
        """Return a responder's key (PEM), its certificate and that of its CA (DER)."""
        answer = self._call("ocsp_identity", domain, authority=authority)
        return (
            answers.bytes_of_answer(answer, "key"),
            answers.bytes_of_answer(answer, "certificate"),
            answers.chain_of_answer(answer)[0],
        )

    def server_identity(self, domain: str, host_names: list[str]) -> tuple[bytes, bytes, list[bytes]]:
        """Return a TLS key (PEM), its certificate (DER) and the CA certificates above it (DER)."""
        answer = self._call("door_identity", domain, host_names=host_names)
        return (
            answers.bytes_of_answer(answer, "key"),
            answers.bytes_of_answer(answer, "certificate"),
            answers.chain_of_answer(answer),
        )

    def create_authority_key(self, domain: str, name: str, authority: str = "") -> bytes:
        """Return the certificate request (PEM) of an issuing CA: new, pending, or installed (by key id)."""
        return answers.bytes_of_answer(
            self._call("create_authority_key", domain, name=name, authority=authority), "csr"
        )

    def install_authority(self, domain: str, certificate: bytes, root: bytes, status_url: str = "") -> None:
        """Give the signer an issuing CA's certificate (PEM or DER), and where its CRLs and OCSP answers are got."""
        fields = {"certificate": certificate, "root": root, "status_url": status_url}
        self._call("install_authority", domain, **fields)

    def authority_keys(self, domain: str) -> list[str]:
        """Return the identities of a domain's CA keys, those that wait for a certificate too."""
        return answers.texts_of_answer(self._call("authority_keys", domain), "identities")

    def use_authority(self, domain: str, authority: str) -> None:
        """Make this CA (key id) the signer's default for issuance."""
        self._call("use_authority", domain, authority=authority)

    def create_online_keys(self, domain: str) -> dict[str, TufKey]:
        """Make the missing online keys; return the public half of each by name."""
        return answers.one_each(self._call("create_online_keys", domain))

    def public_keys(self, domain: str) -> dict[str, TufKey]:
        """Return the public half of each online key by name."""
        return answers.one_each(self._call("public_keys", domain))

    def held_keys(self, domain: str) -> dict[str, list[TufKey]]:
        """Return, by name, the public half of the online key that signs, and of the next one, if it is ready."""
        return answers.generations_of_answer(self._call("public_keys", domain), "held")

    def every_key(self, domain: str, name: str) -> dict[str, bytes]:
        """Return the public half of every generation of an online key, past ones included, by key id."""
        answer = self._call("public_keys", domain)
        keys = [
            *answers.generations_of_answer(answer, "past").get(name, []),
            *answers.generations_of_answer(answer, "held").get(name, []),
        ]
        return {key["keyid"]: bytes.fromhex(key["keyval"]["public"]) for key in keys}

    def prepare_online_keys(self, domain: str, names: list[str]) -> dict[str, list[TufKey]]:
        """Create the next generation of some online keys; return the same as ``held_keys``."""
        return answers.generations_of_answer(self._call("prepare_online_keys", domain, names=names), "held")

    def switch_online_keys(self, domain: str, names: list[str]) -> None:
        """Let the next generation of some online keys sign from now on."""
        self._call("switch_online_keys", domain, names=names)

    def retire_online_keys(self, domain: str) -> list[str]:
        """Destroy the private halves of the generations that sign no more; return their names."""
        return answers.texts_of_answer(self._call("retire_online_keys", domain), "retired")

    def last_head(self, domain: str) -> RememberedHead:
        """Return epoch, size and root of the newest ledger head that the signer has signed (size 0: none).

        ``unsigned_restores`` beside them is the epoch up to which restores were made before they were signed.
        """
        return answers.remembered_head(self._call("last_head", domain))

    def sign(self, document: str, domain: str, payload: bytes) -> dict[str, str]:
        """Return {"keyid", "sig"} over a canonical document.

        Args:
            document: snapshot, timestamp, director, time, head or restore.
            domain: slug.
            payload: its canonical bytes.
        """
        answer = self._call(f"sign_{document}", domain, payload=payload)
        return {"keyid": answers.text_of_answer(answer, "keyid"), "sig": answers.text_of_answer(answer, "sig")}

    def oscore_secret(self, domain: str, kid: bytes, certificate: bytes) -> bytes:
        """Return Master Secret and Master Salt (16 and 8 bytes) of an OSCORE context.

        Args:
            domain: slug.
            kid: Sender ID of the device.
            certificate: SHA-256 of the certificate that the context belongs to.
        """
        return answers.bytes_of_answer(self._call("oscore_secret", domain, kid=kid, certificate=certificate), "secret")

    def ping(self) -> None:
        """Return when the signer answers."""
        self._call("ping", "")

    def close(self) -> None:
        """Drop the connections; the next call makes a new one."""
        with self._lock:
            for scope in list(self._connections):
                self._drop(scope)

    def _call(self, operation: str, domain: str, **fields: object) -> dict[str, object]:
        request: dict[str, object] = {"op": operation, "domain": domain, **fields}
        scope = domain if self._role in SCOPED else ""
        with self._lock:
            try:
                answer = self._exchange(scope, request)
            except (OSError, InvalidError) as error:
                self._drop(scope)
                msg = "The signer does not answer; is `manage.py serve` running?"
                raise SignerError(msg) from error
        if answer.get("ok"):
            return answer
        kind = _KINDS.get(str(answer.get("kind")), SignerError)
        raise kind(str(answer.get("detail")))

    def _exchange(self, scope: str, request: dict[str, object]) -> dict[str, object]:
        reused = scope in self._connections
        try:
            return self._once(scope, request)
        except (OSError, InvalidError):
            self._drop(scope)
            if not reused:
                raise
            return self._once(scope, request)

    def _once(self, scope: str, request: dict[str, object]) -> dict[str, object]:
        if scope not in self._connections:
            if len(self._connections) >= MOST_CONNECTIONS:
                self._drop(next(iter(self._connections)))
            self._connections[scope] = self._connect(scope)
        frames.send_message(self._connections[scope], request)
        answer = frames.receive_frame(self._connections[scope])
        if answer is None:
            msg = "The signer closed the connection."
            raise InvalidError(msg)
        return answer

    def _connect(self, scope: str) -> socket.socket:
        hello = {"role": self._role, "domain": scope, "secret": self._secret(scope)}
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(_TIMEOUT)
        try:
            connection.connect(str(self._folder / "run" / "signer.sock"))
            frames.send_message(connection, hello)
            _demand_welcome(frames.receive_frame(connection))
        except BaseException:
            connection.close()
            raise
        return connection

    def _secret(self, scope: str) -> str:
        if scope not in self._secrets:
            try:
                self._secrets[scope] = secret_file(self._folder, self._role, scope).read_text().strip()
            except OSError as error:
                msg = "The signer has never run here, or this process may not use it. Start `manage.py serve`."
                raise SignerError(msg) from error
        return self._secrets[scope]

    def _drop(self, scope: str) -> None:
        connection = self._connections.pop(scope, None)
        if connection is not None:
            with suppress(OSError):
                connection.close()


def _demand_welcome(answer: dict[str, object] | None) -> None:
    if not (answer or {}).get("ok"):
        msg = "The signer does not accept this process's secret."
        raise DeniedError(msg)


def is_signer_listening(folder: Path) -> bool:
    """Return whether a signer answers in this folder."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(folder / "run" / "signer.sock"))
        except OSError:
            return False
        return True


def secret_file(folder: Path, role: str, domain: str = "") -> Path:
    """Return the path of a role's secret; a gateway has one for each domain."""
    return folder / "secrets" / (f"signer-{role}.{domain}" if domain else f"signer-{role}")


def role_secret(folder: Path, role: str, domain: str = "") -> str:
    """Return the secret by which a role proves itself, made at its first use."""
    return files.secret_once(secret_file(folder, role, domain), lambda: secrets.token_urlsafe(48))
