"""An officer's P-256 key in a PKCS#11 token, generated there and not extractable.

The key file ``NAME.key`` contains no secret, only ``{"pkcs11": {"module", "token", "label"}}``. The PIN comes from a
prompt, or from the file in ``MUSTER_PIN_FILE``. Requires the extra ``grown``.
"""

import getpass
import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from cryptography.hazmat.primitives.asymmetric import ec, utils
from securesystemslib.signer import Key, SecretsHandler, Signature, Signer, SSlibKey

from pki.kernel import intake, strict_json
from pki.kernel.errors import InvalidError, UnavailableError

MAX_FILE = 64 * 1024
PIN_FILE = "MUSTER_PIN_FILE"
_P256_OID = bytes.fromhex("06082a8648ce3d030107")
_HALF, _POINT = 32, 65


@dataclass(frozen=True, slots=True)
class TokenKeyAddress:
    """Location of a key: the vendor's library, the label of the token, and the label of the key."""

    module: str
    token: str
    label: str

    def to_json(self) -> bytes:
        """Return the content of a key file."""
        return json.dumps({"pkcs11": asdict(self)}, indent=1).encode()

    @staticmethod
    def from_json(data: bytes) -> "TokenKeyAddress":
        """Return the location in a key file.

        Raises:
            InvalidError: it does not name a token.
        """
        try:
            held = intake.map_of(strict_json.read_json(data, max_bytes=MAX_FILE), "key file")
            named = intake.map_of(held["pkcs11"], "pkcs11")
            return TokenKeyAddress(**{name: str(value) for name, value in named.items()})
        except (InvalidError, KeyError, TypeError, AttributeError) as error:
            msg = "The key file does not name a token. Expected `pkcs11` with module, token and label."
            raise InvalidError(msg) from error


def generate_in_token(address: TokenKeyAddress) -> ec.EllipticCurvePublicKey:
    """Generate a key that cannot leave the token. Return its public key.

    Raises:
        UnavailableError: the token is missing, rejects the PIN, or already has a key of that label.
    """
    with _Session(address) as session:
        pkcs11 = session.library
        if any(session.opened.get_objects({pkcs11.Attribute.LABEL: address.label})):
            msg = f"The token already has a key {address.label!r}. Choose another name."
            raise UnavailableError(msg)
        parameters = session.opened.create_domain_parameters(
            pkcs11.KeyType.EC, {pkcs11.Attribute.EC_PARAMS: _P256_OID}, local=True
        )
        hidden = {pkcs11.Attribute.SENSITIVE: True, pkcs11.Attribute.EXTRACTABLE: False}
        capabilities = pkcs11.MechanismFlag.SIGN | pkcs11.MechanismFlag.VERIFY
        parameters.generate_keypair(label=address.label, store=True, private_template=hidden, capabilities=capabilities)
        public: ec.EllipticCurvePublicKey = session.public()
    return public


class TokenSigner(Signer):
    """Sign with a key in a token. Prompt for the PIN once.

    Args:
        place: location of the key.
    """

    def __init__(self, address: TokenKeyAddress) -> None:
        self._session = _Session(address)
        with self._session as session:
            self._public = SSlibKey.from_crypto(session.public())

    @property
    def public_key(self) -> Key:
        """Return the public key."""
        return self._public

    @classmethod
    def from_priv_key_uri(
        cls, priv_key_uri: str, public_key: Key, secrets_handler: SecretsHandler | None = None
    ) -> Signer:
        """Refuse: keys are loaded from key files only."""
        del public_key, secrets_handler
        msg = f"Use a key file, not a URI such as {priv_key_uri[:40]!r}."
        raise InvalidError(msg)

    def sign(self, payload: bytes) -> Signature:
        """Return a DER signature over the SHA-256 of the payload; the hash is computed here."""
        with self._session as session:
            pkcs11 = session.library
            key = session.opened.get_key(label=session.address.label, object_class=pkcs11.ObjectClass.PRIVATE_KEY)
            raw = bytes(key.sign(hashlib.sha256(payload).digest(), mechanism=pkcs11.Mechanism.ECDSA))
        r, s = (int.from_bytes(half, "big") for half in (raw[:_HALF], raw[_HALF:]))
        return Signature(self._public.keyid, utils.encode_dss_signature(r, s).hex())


class _Session:
    """A PKCS#11 session. It turns errors of the library into readable ones."""

    def __init__(self, address: TokenKeyAddress) -> None:
        self.address, self._pin = address, ""
        self.opened: Any = None  # untyped: the library has one session class per kind of token
        try:
            import pkcs11  # noqa: PLC0415  because the library is optional
        except ImportError as error:
            msg = "Keys in PKCS#11 tokens require the extra `grown`: pip install 'muster[grown]'."
            raise UnavailableError(msg) from error
        self.library = pkcs11

    def __enter__(self) -> Self:
        try:
            token = self.library.lib(self.address.module).get_token(token_label=self.address.token)
            self._pin = self._pin or _pin(self.address)
            self.opened = token.open(rw=True, user_pin=self._pin)
        except (self.library.PKCS11Error, OSError, RuntimeError) as error:
            msg = f"The token {self.address.token!r} is missing or rejects the PIN: {error or type(error).__name__}."
            raise UnavailableError(msg) from error
        return self

    def __exit__(self, kind: object, error: BaseException | None, _trace: object) -> None:
        opened, self.opened = self.opened, None
        if opened is not None:
            opened.close()
        if isinstance(error, self.library.PKCS11Error):
            msg = f"The token reports an error: {type(error).__name__}."
            raise UnavailableError(msg) from error

    def public(self) -> ec.EllipticCurvePublicKey:
        """Return the public key."""
        public_key = self.opened.get_key(label=self.address.label, object_class=self.library.ObjectClass.PUBLIC_KEY)
        octets = bytes(public_key[self.library.Attribute.EC_POINT])
        # The attribute is an OCTET STRING that contains the point; some tokens omit the wrapping.
        point = octets if octets[:1] == b"\x04" and len(octets) == _POINT else octets[2:]
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)


def _pin(address: TokenKeyAddress) -> str:
    named = os.environ.get(PIN_FILE)
    return Path(named).read_text().strip() if named else getpass.getpass(f"PIN of the token {address.token}: ")
