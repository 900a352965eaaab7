"""The few things that the signer does; each is typed, none signs bytes that it does not understand."""

import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from securesystemslib.signer import SSlibKey

from pki import x509 as certificates
from pki.kernel import clock
from pki.kernel.errors import InvalidError, NotFoundError
from pki.profiles import DEVICE, DOOR
from pki.signer import metadata
from pki.vault.store import Vault

ONLINE_KEYS = ("snapshot", "timestamp", "director", "ledger")


@dataclass(frozen=True, slots=True)
class Done:
    """What came of an operation: the answer for the caller, and the facts for the signer's log."""

    answer: dict[str, Any]
    facts: dict[str, Any]


class Operations:
    """The signer's operations over one vault."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self.table: dict[str, Callable[[str, dict[str, Any]], Done]] = {
            "ping": lambda _domain, _request: Done({}, {}),
            "public_keys": self._public_keys,
            "last_head": self._last_head,
            "issue_device": self._issue_device,
            "door_identity": self._door_identity,
            "create_authority_key": self._create_authority_key,
            "install_authority": self._install_authority,
            "create_online_keys": self._create_online_keys,
        }
        for name in metadata.DOCUMENTS:
            self.table[name] = self._signing(name)

    def _issue_device(self, domain: str, request: dict[str, Any]) -> Done:
        """Issue a device certificate: the CSR gives the key only, all else is decided here."""
        key, name = _uuid(request, "device_key"), _text(request, "device_name", 100)
        csr = certificates.parse_csr(_bytes(request, "csr"))
        subject = certificates.device_subject(domain, key, name, certificates.csr_key(csr))
        until = clock.now() + timedelta(days=_days(request))
        return self._issued(certificates.issue(self._issuer(domain), DEVICE, subject, clock.now(), until))

    def _door_identity(self, domain: str, request: dict[str, Any]) -> Done:
        """Make a TLS server key and certificate for a door of this server."""
        names = request.get("host_names")
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            msg = "host_names is a list of names."
            raise InvalidError(msg)
        key = ec.generate_private_key(ec.SECP256R1())
        subject = certificates.door_subject(names, key.public_key())
        issuer = self._issuer(domain)
        done = self._issued(certificates.issue(issuer, DOOR, subject, clock.now(), clock.now() + DOOR.validity))
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return Done({**done.answer, "key": pem, "chain": [_der(issuer.certificate)]}, done.facts)

    def _create_authority_key(self, domain: str, request: dict[str, Any]) -> Done:
        """Make the key of an issuing CA (or find the one that waits for its certificate); return its CSR."""
        name = _text(request, "name", 64)
        if not self._vault.has(domain, "issuing"):
            self._vault.create(domain, "issuing", ec.generate_private_key(ec.SECP256R1()))
        csr = certificates.authority_csr(self._vault.authority(domain, "issuing"), name)
        return Done({"csr": csr.public_bytes(serialization.Encoding.PEM)}, {})

    def _install_authority(self, domain: str, request: dict[str, Any]) -> Done:
        """Take the issuing CA's certificate from the offline root."""
        certificate = _certificate(_bytes(request, "certificate"))
        root = _certificate(_bytes(request, "root"))
        key = self._vault.authority(domain, "issuing").public_key()
        certificates.check_authority(certificate, root, key, clock.now())
        self._vault.write_fact(domain, "issuing.der", _der(certificate))
        return Done({}, {"fingerprint": certificates.fingerprint(certificate)})

    def _create_online_keys(self, domain: str, _request: dict[str, Any]) -> Done:
        """Make the online metadata keys that are missing; return the public halves of all."""
        for name in ONLINE_KEYS:
            if not self._vault.has(domain, name):
                self._vault.create(domain, name, ed25519.Ed25519PrivateKey.generate())
        return self._public_keys(domain, {})

    def _public_keys(self, domain: str, _request: dict[str, Any]) -> Done:
        names = [name for name in ONLINE_KEYS if self._vault.has(domain, name)]
        return Done({"keys": {name: self._public(domain, name) for name in names}}, {})

    def _last_head(self, domain: str, _request: dict[str, Any]) -> Done:
        """Tell the newest ledger head signed: what no owner of database or journal can make it forget."""
        return Done({"head": metadata.last_head(self._vault, domain)}, {})

    def _public(self, domain: str, name: str) -> dict[str, Any]:
        key = SSlibKey.from_crypto(self._vault.online(domain, name).public_key())
        return {"keyid": key.keyid, **key.to_dict()}

    def _signing(self, operation: str) -> Callable[[str, dict[str, Any]], Done]:
        def sign(domain: str, request: dict[str, Any]) -> Done:
            payload = _bytes(request, "payload")
            name = metadata.check(self._vault, operation, domain, payload)
            signature = self._vault.online(domain, name).sign(payload)
            keyid = self._public(domain, name)["keyid"]
            return Done({"keyid": keyid, "sig": signature.hex()}, {"bytes": len(payload)})

        return sign

    def _issuer(self, domain: str) -> certificates.Issuer:
        der = self._vault.read_fact(domain, "issuing.der")
        if der is None:
            msg = f"The domain {domain} has no issuing CA yet; run `manage.py ca csr` and `ca import`."
            raise NotFoundError(msg)
        return certificates.Issuer(_certificate(der), self._vault.authority(domain, "issuing"))

    @staticmethod
    def _issued(certificate: x509.Certificate) -> Done:
        der = _der(certificate)
        facts = {"fingerprint": certificates.fingerprint(certificate), "der": der.hex()}
        return Done({"certificate": der}, facts)


def _certificate(data: bytes) -> x509.Certificate:
    try:
        pem = data.lstrip().startswith(b"-----")
        return x509.load_pem_x509_certificate(data) if pem else x509.load_der_x509_certificate(data)
    except (ValueError, x509.InvalidVersion) as error:
        msg = "This is not an X.509 certificate."
        raise InvalidError(msg) from error


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)


def _text(request: dict[str, Any], name: str, longest: int) -> str:
    value = request.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= longest or not value.isprintable():
        msg = f"`{name}` is a printable text of at most {longest} characters."
        raise InvalidError(msg)
    return value


def _uuid(request: dict[str, Any], name: str) -> str:
    """Return a UUID in its one canonical form: it becomes part of names, where nothing else may slip in."""
    value = request.get(name)
    with suppress(ValueError, AttributeError, TypeError):
        if str(uuid.UUID(value)) == value:
            return str(value)
    msg = f"`{name}` is a UUID."
    raise InvalidError(msg)


def _bytes(request: dict[str, Any], name: str) -> bytes:
    value = request.get(name)
    if not isinstance(value, bytes):
        msg = f"`{name}` is a byte string."
        raise InvalidError(msg)
    return value


def _days(request: dict[str, Any]) -> int:
    days = request.get("days", DEVICE.validity.days)
    if type(days) is not int or not 0 < days <= DEVICE.validity.days:
        msg = f"`days` lies between 1 and {DEVICE.validity.days}."
        raise InvalidError(msg)
    return days
