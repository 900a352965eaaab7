"""An officer's key: Ed25519, or P-256 for fleets with microcontrollers, in a private file or in a PKCS#11 token."""

import json
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from securesystemslib.signer import CryptoSigner, Signer, SSlibKey

from fleet.officer import token
from fleet.officer.token import TokenKeyAddress
from ota.contract.field_names import OFFICER_FIELD
from ota.contract.root_keys import officer_name
from pki.kernel import files, strict_json
from pki.kernel.errors import ConflictError, InvalidError
from pki.kernel.names import check_person
from pki.kernel.pem import demand_one_block
from pki.kernel.public_keys import PublicKey, key_identity, read_tuf, read_tuf_fields

MAX_FILE = 64 * 1024
P256 = "ecdsa-sha2-nistp256"


def generate_key(folder: Path, name: str, *, p256: bool = False, address: TokenKeyAddress | None = None) -> Path:
    """Create a key pair and return the path of the public key file.

    Args:
        folder: folder of the key files.
        name: name of the officer.
        p256: create a P-256 key instead of Ed25519; it can also sign SUIT manifests for microcontrollers.
        address: create the key in this PKCS#11 token (P-256); the key file then only names the token.

    Raises:
        ConflictError: a key of that name exists.
        InvalidError: the name is not valid.
    """
    check_person(name)
    private, public = folder / f"{name}.key", folder / f"{name}.pub.json"
    if private.exists():
        msg = f"{private} already exists and is not overwritten. Choose another name or folder."
        raise ConflictError(msg)
    files.private_folder(folder)
    if address is not None:
        half = SSlibKey.from_crypto(token.generate_in_token(address))
        files.write_private(private, address.to_json())
    else:
        key = ec.generate_private_key(ec.SECP256R1()) if p256 else ed25519.Ed25519PrivateKey.generate()
        form = serialization.PrivateFormat.PKCS8
        files.write_private(private, key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
        half = SSlibKey.from_crypto(key.public_key())
    facts = {"name": name, "keyid": half.keyid, "key": half.to_dict()}
    files.write_public(public, json.dumps(facts, indent=1, sort_keys=True).encode())
    return public


def load_signer(path: Path) -> Signer:
    """Return the signer of a private key file, or of the token that it names.

    Raises:
        InvalidError: it contains neither an Ed25519 nor a P-256 key, and names no token.
        UnavailableError: the token is not available.
    """
    data = path.read_bytes()
    if data.lstrip().startswith(b"{"):
        return token.TokenSigner(TokenKeyAddress.from_json(data))
    key = serialization.load_pem_private_key(
        demand_one_block(data, "PRIVATE KEY", "EC PRIVATE KEY", what=str(path)), None
    )
    p256 = isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1)
    if not isinstance(key, ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey) or not (
        p256 or isinstance(key, ed25519.Ed25519PrivateKey)
    ):
        msg = f"{path} must contain an Ed25519 or a P-256 key."
        raise InvalidError(msg)
    return CryptoSigner(key, SSlibKey.from_crypto(key.public_key()))


def load_officer(path: Path) -> tuple[str, SSlibKey]:
    """Return the name and public key in an officer's ``NAME.pub.json``, with the key id computed here.

    Raises:
        InvalidError: it is malformed, or its key id, type or scheme does not match the key.
    """
    try:
        # untyped: the code below catches every shape error
        facts: Any = strict_json.read_json(path.read_bytes(), max_bytes=MAX_FILE)
        name, keyid, fields = facts["name"], facts["keyid"], facts["key"]
    except (InvalidError, KeyError, TypeError) as error:
        msg = f"{path} is not an officer's public key. Expected the NAME.pub.json that `muster-sign keygen` wrote."
        raise InvalidError(msg) from error
    key = _computed(read_tuf_fields(fields))
    if key.keyid != keyid or (key.keytype, key.scheme) != (fields["keytype"], fields["scheme"]):
        msg = f"{path}: keyid, keytype or scheme does not match the key. Nothing was signed. Ask its owner again."
        raise InvalidError(msg)
    key.unrecognized_fields[OFFICER_FIELD] = check_person(name)
    return name, key


def key_owner(key: SSlibKey) -> str:
    """Return the name of the officer who owns a key."""
    return officer_name(key.keyid, key.unrecognized_fields)


def online_key(facts: Any, people: set[str]) -> SSlibKey:  # untyped: anything but a key is refused
    """Return an online key of a server. The key id is computed here, so a server cannot claim another key's id.

    Args:
        facts: description of the key, as the server exports it.
        people: identities of the officers' keys (SHA-256 of the SubjectPublicKeyInfo).

    Raises:
        InvalidError: it is not an Ed25519 key, its key id does not match, or it is an officer's key.
    """
    try:
        key = read_tuf("ed25519", "ed25519", facts["keyval"]["public"])
    except (KeyError, TypeError, AttributeError, InvalidError) as error:
        msg = "An online key is not an Ed25519 key. Nothing was signed."
        raise InvalidError(msg) from error
    computed = _computed(key)
    if computed.keyid != facts.get("keyid") or key_identity(key) in people:
        msg = "The keyid of an online key does not match the key, or the key is an officer's. Nothing was signed."
        raise InvalidError(msg)
    return computed


def _computed(key: PublicKey) -> SSlibKey:
    """Return a key in TUF's format, with the key id computed from its canonical form."""
    return SSlibKey.from_crypto(key)
