"""What opens the vault: a passphrase from a file, the environment or a person, and perhaps a token."""

import getpass
import os
import secrets
from functools import cache
from pathlib import Path

from pki.kernel import files, handover
from pki.kernel.errors import InvalidError
from pki.vault.token import Pkcs11Token, TokenSettings

LEAST_PASSPHRASE = 12


@cache
def vault_passphrase(folder: Path) -> str:
    """Return the vault's passphrase, as FLEET_VAULT_KEY says where from.

    ``file``: ``secrets/vault.key``, made at the first start. ``environment``: FLEET_VAULT_PASSPHRASE; it reaches this
    process as a descriptor (``pki.kernel.handover``). ``ask``: typed by a person; start `python -m pki.signer` by hand
    before `serve`.

    Raises:
        InvalidError: it is missing or short.
    """
    source = os.environ.get("FLEET_VAULT_KEY", "file")
    if source == "file":
        return files.secret_once(folder / "secrets" / "vault.key", lambda: secrets.token_urlsafe(48))
    passphrase = handover.take_passphrase() if source == "environment" else ""
    if source == "ask":
        passphrase = getpass.getpass("Passphrase of the vault: ")
    if len(passphrase) < LEAST_PASSPHRASE:
        msg = f"The vault's passphrase must have at least {LEAST_PASSPHRASE} characters; FLEET_VAULT_KEY is {source!r}."
        raise InvalidError(msg)
    return passphrase


def ca_token() -> Pkcs11Token | None:
    """Return the token for CA keys if FLEET_KEY_BACKEND is ``pkcs11``, else None.

    Raises:
        InvalidError: a setting of the token is missing.
    """
    if os.environ.get("FLEET_KEY_BACKEND", "file") != "pkcs11":
        return None
    variables = ("FLEET_PKCS11_MODULE", "FLEET_PKCS11_TOKEN", "FLEET_PKCS11_PIN_FILE")
    values = [os.environ.get(name, "") for name in variables]
    if not all(values):
        msg = f"FLEET_KEY_BACKEND=pkcs11 needs {', '.join(variables)}."
        raise InvalidError(msg)
    return Pkcs11Token(TokenSettings(Path(values[0]), values[1], Path(values[2])))
