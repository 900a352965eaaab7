"""CA keys in a PKCS#11 token: made there, never readable, used by handing over a digest.

A session is opened at the first use and once more after the token was away; a wrong PIN is tried once in the life of
this process, because three wrong ones lock a real token.
"""

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

from pki.kernel.errors import InvalidError, UnavailableError

if TYPE_CHECKING:
    import pkcs11

_P256_OID = bytes.fromhex("06082a8648ce3d030107")


@dataclass(frozen=True, slots=True)
class TokenSettings:
    """Where the token is.

    Args:
        module: the vendor's PKCS#11 library.
        label: of the token.
        pin_file: readable by the signer's user only.
    """

    module: Path
    label: str
    pin_file: Path


class Pkcs11Token:
    """One token; safe for threads, one session at a time.

    Args:
        settings: where it is.
    """

    def __init__(self, settings: TokenSettings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._session: pkcs11.Session | None = None
        self._refused = False

    def create(self, label: str) -> None:
        """Make a P-256 key that cannot leave the token."""
        import pkcs11  # noqa: PLC0415  because only a set-up with a token has the library

        with self._lock:
            session = self._open()
            parameters = session.create_domain_parameters(
                pkcs11.KeyType.EC, {pkcs11.Attribute.EC_PARAMS: _P256_OID}, local=True
            )
            hidden = {pkcs11.Attribute.SENSITIVE: True, pkcs11.Attribute.EXTRACTABLE: False}
            parameters.generate_keypair(
                label=label, store=True, private_template=hidden, capabilities=pkcs11.MechanismFlag.SIGN
            )

    def public(self, label: str) -> ec.EllipticCurvePublicKey:
        """Return the public half of a key."""
        import pkcs11  # noqa: PLC0415  because only a set-up with a token has the library

        with self._lock:
            key = self._open().get_key(label=label, object_class=pkcs11.ObjectClass.PUBLIC_KEY)
            octets = bytes(key[pkcs11.Attribute.EC_POINT])
        # The attribute is an OCTET STRING around the point; some tokens leave the wrapping out.
        point = octets if octets[:1] == b"\x04" and len(octets) == 65 else octets[2:]  # noqa: PLR2004  because a P-256 point has 65 bytes
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)

    def sign(self, label: str, digest: bytes) -> bytes:
        """Return r || s over a digest; tried once more in a new session when the token was away.

        Raises:
            UnavailableError: the token does not answer, or refuses the PIN.
        """
        import pkcs11  # noqa: PLC0415  because only a set-up with a token has the library

        with self._lock:
            for again in (False, True):
                try:
                    # untyped: the library's type of keys does not say which of them sign.
                    key: Any = self._open().get_key(label=label, object_class=pkcs11.ObjectClass.PRIVATE_KEY)
                    return bytes(key.sign(digest, mechanism=pkcs11.Mechanism.ECDSA))
                except pkcs11.PKCS11Error as error:
                    self._session = None
                    if again:
                        msg = f"The key token does not sign: {type(error).__name__}."
                        raise UnavailableError(msg) from error
        raise AssertionError

    def _open(self) -> "pkcs11.Session":
        import pkcs11  # noqa: PLC0415  because only a set-up with a token has the library

        if self._session is not None:
            return self._session
        if self._refused:
            msg = "The key token rejected the PIN. Put the right PIN into its file and start the signer again."
            raise UnavailableError(msg)
        try:
            token = pkcs11.lib(str(self._settings.module)).get_token(token_label=self._settings.label)
            self._session = token.open(rw=True, user_pin=self._settings.pin_file.read_text().strip())
        except pkcs11.PinIncorrect as error:
            self._refused = True
            msg = "The key token rejects the PIN."
            raise UnavailableError(msg) from error
        except (pkcs11.PKCS11Error, OSError, RuntimeError) as error:
            msg = f"The key token {self._settings.label!r} is not available: {error or type(error).__name__}."
            raise UnavailableError(msg) from error
        return self._session


class TokenKey:
    """A CA key in a token, with the few methods of a private key that the CA uses.

    Args:
        token: that holds it.
        label: under which.
    """

    def __init__(self, token: Pkcs11Token, label: str) -> None:
        self._token, self._label = token, label
        self._public = token.public(label)
        self.curve: ec.EllipticCurve = self._public.curve

    def public_key(self) -> ec.EllipticCurvePublicKey:
        """Return the public half."""
        return self._public

    def sign(self, data: bytes, signature_algorithm: ec.ECDSA) -> bytes:
        """Return an ECDSA signature in DER, as ``cryptography`` would."""
        algorithm = signature_algorithm.algorithm
        if not isinstance(algorithm, hashes.HashAlgorithm):
            msg = "The token hashes what it signs and cannot sign a precomputed digest."
            raise InvalidError(msg)
        digest = hashes.Hash(algorithm)
        digest.update(data)
        raw = self._token.sign(self._label, digest.finalize())
        half = len(raw) // 2
        return utils.encode_dss_signature(int.from_bytes(raw[:half], "big"), int.from_bytes(raw[half:], "big"))
