"""Private keys: one folder a domain, PKCS#8 encrypted at rest, readable by the owner only; CA keys also in a token.

A cloud KMS would be a third place beside ``token.py``: something with ``create``, ``public`` and ``sign``.
"""

import re
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from pki.kernel import files
from pki.kernel.errors import ConflictError, InvalidError, NotFoundError
from pki.vault.token import Pkcs11Token, TokenKey

CaKey = ec.EllipticCurvePrivateKey | TokenKey
type_of_key = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,59}")


class Vault:
    """The signer's keys and the small public facts that belong to them.

    Args:
        folder: ``FLEET_DIR/keys``.
        passphrase: encrypts every key file.
        token: where new CA keys are made; None for files.
    """

    def __init__(self, folder: Path, passphrase: bytes, token: Pkcs11Token | None = None) -> None:
        self._token = token
        self._folder = files.private_folder(folder)
        self._passphrase = passphrase
        self._open: dict[Path, type_of_key] = {}
        self._tokens: dict[Path, TokenKey] = {}

    def create(self, domain: str, name: str, key: type_of_key) -> None:
        """Keep a new key.

        Raises:
            ConflictError: there is one of that name.
        """
        path = self._path(domain, f"{name}.key")
        if path.exists():
            msg = f"The key {name} of {domain} already exists."
            raise ConflictError(msg)
        data = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(self._passphrase),
        )
        files.private_folder(path.parent)
        files.write_private(path, data)
        self._open[path] = key

    def create_authority(self, domain: str, name: str) -> None:
        """Make and keep a CA key (P-256), in the token if there is one; a file then says under which label.

        Raises:
            ConflictError: there is one of that name.
        """
        if self._token is None:
            self.create(domain, name, ec.generate_private_key(ec.SECP256R1()))
            return
        path = self._path(domain, f"{name}.ref")
        if path.exists():
            msg = f"The key {name} of {domain} already exists."
            raise ConflictError(msg)
        label = f"muster/{domain}/{name}"
        self._token.create(label)
        files.private_folder(path.parent)
        files.write_private(path, label.encode())

    def names(self, domain: str) -> list[str]:
        """Return the names of a domain's keys."""
        self._path(domain, "any")
        folder = self._folder / domain
        return sorted({path.stem for kind in ("*.key", "*.ref") for path in folder.glob(kind)})

    def has(self, domain: str, name: str) -> bool:
        """Return whether there is a key of that name."""
        return self._path(domain, f"{name}.key").exists()

    def destroy(self, domain: str, name: str) -> None:
        """Delete a key permanently; whether its bytes are overwritten depends on the disk."""
        path = self._path(domain, f"{name}.key")
        self._open.pop(path, None)
        files.remove_file(path)

    def authority(self, domain: str, name: str) -> CaKey:
        """Return a CA key (P-256), from the token if it is stored there.

        Raises:
            NotFoundError: the key is stored in a token, and this signer has none.
        """
        reference = self._path(domain, f"{name}.ref")
        if reference.exists():
            return self._in_token(reference)
        key = self._load(domain, name)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            msg = f"The key {name} is not a CA key."
            raise InvalidError(msg)
        return key

    def online(self, domain: str, name: str) -> ed25519.Ed25519PrivateKey:
        """Return an online metadata key (Ed25519)."""
        key = self._load(domain, name)
        if not isinstance(key, ed25519.Ed25519PrivateKey):
            msg = f"The key {name} is not a metadata key."
            raise InvalidError(msg)
        return key

    def write_fact(self, domain: str, name: str, data: bytes) -> None:
        """Keep a public fact beside the keys: a certificate, the last version signed."""
        path = self._path(domain, name)
        files.private_folder(path.parent)
        files.write_private(path, data)

    def knows(self, domain: str) -> bool:
        """Return whether anything was ever kept for a domain of this name."""
        return bool(_NAME.fullmatch(domain)) and (self._folder / domain).is_dir()

    def domains(self) -> list[str]:
        """Return every domain for which something was kept."""
        return sorted(entry.name for entry in self._folder.iterdir() if self.knows(entry.name))

    def read_fact(self, domain: str, name: str) -> bytes | None:
        """Return a fact, or None."""
        path = self._path(domain, name)
        return path.read_bytes() if path.exists() else None

    def _in_token(self, reference: Path) -> TokenKey:
        if self._token is None:
            msg = f"The key {reference.stem} is stored in a token; set FLEET_KEY_BACKEND=pkcs11 and where the token is."
            raise NotFoundError(msg)
        if reference not in self._tokens:
            self._tokens[reference] = TokenKey(self._token, reference.read_text())
        return self._tokens[reference]

    def _load(self, domain: str, name: str) -> type_of_key:
        path = self._path(domain, f"{name}.key")
        if path not in self._open:
            if not path.exists():
                msg = f"The signer has no key {name} for {domain}; run the key ceremony first."
                raise NotFoundError(msg)
            key = serialization.load_pem_private_key(path.read_bytes(), self._passphrase)
            if not isinstance(key, type_of_key):
                msg = f"The key {name} has an unexpected type."
                raise InvalidError(msg)
            self._open[path] = key
        return self._open[path]

    def _path(self, domain: str, name: str) -> Path:
        if not _NAME.fullmatch(domain) or not _NAME.fullmatch(name.rsplit(".", 1)[0]):
            msg = "Names of domains and keys may have only lower-case letters, digits and hyphens."
            raise InvalidError(msg)
        return self._folder / domain / name
