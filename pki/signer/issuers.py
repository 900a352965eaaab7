"""The issuing CAs of a domain as the signer holds them: several at once, each with its key and its certificate."""

import re
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from pki import x509 as rules
from pki.kernel.errors import InvalidError, NotFoundError
from pki.keys import spki_sha256
from pki.vault.store import Vault

#: the first one's place, and the pattern of those after it
FIRST = "issuing"
_KEY_NAME = re.compile(r"issuing(-[0-9]{1,4})?")
_URL = re.compile(r"https?://[A-Za-z0-9.\[\]:-]{1,200}(/[A-Za-z0-9._/-]{0,200})?")


class Issuers:
    """The issuing CAs in one vault.

    Args:
        vault: holds keys ``issuing``, ``issuing-2``, … and beside them ``<place>.der`` and ``<place>.status``.
    """

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._known: dict[str, dict[str, rules.Issuer]] = {}

    def waiting(self, domain: str) -> tuple[str, rules.CaKey]:
        """Return place and key of a CA that has no certificate yet; made if all have one."""
        key_names = self._key_names(domain)
        for key_name in key_names:
            if self._vault.read_fact(domain, f"{key_name}.der") is None:
                return key_name, self._vault.authority(domain, key_name)
        key_name = FIRST if not key_names else f"{FIRST}-{max(_number(name) for name in key_names) + 1}"
        self._vault.create_authority(domain, key_name)
        return key_name, self._vault.authority(domain, key_name)

    def identities(self, domain: str) -> list[str]:
        """Return the identities of all CA keys (SHA-256 of the SubjectPublicKeyInfo), waiting ones too."""
        return [
            spki_sha256(self._vault.authority(domain, key_name).public_key()) for key_name in self._key_names(domain)
        ]

    def key(self, domain: str, key_id: str) -> rules.CaKey:
        """Return the key of an installed CA, to have it certified again (by a new root)."""
        return self.get(domain, key_id).key

    def install(
        self, domain: str, certificate: x509.Certificate, root: x509.Certificate, url: str, now: datetime
    ) -> None:
        """Take a CA's certificate, the first one or a new one for the same key.

        Raises:
            InvalidError: it is for no key held here, or no certificate of an issuing CA below that root.
        """
        if url and not _URL.fullmatch(url):
            msg = "The status address must be an http or https URL without a query."
            raise InvalidError(msg)
        for key_name in self._key_names(domain):
            key = self._vault.authority(domain, key_name)
            if key.public_key() == certificate.public_key():
                rules.check_authority(certificate, root, key.public_key(), now)
                self._same_root(domain, key_name, certificate)
                self._vault.write_fact(domain, f"{key_name}.status", url.rstrip("/").encode())
                der = certificate.public_bytes(serialization.Encoding.DER)
                self._vault.write_fact(domain, f"{key_name}.der", der)
                self._known.pop(domain, None)
                return
        msg = "The issuing CA's certificate is refused: it is not for the signer's key."
        raise InvalidError(msg)

    def use(self, domain: str, key_id: str) -> None:
        """Make this the default CA: for server certificates, and for profiles without a CA of their own."""
        self.get(domain, key_id)
        self._vault.write_fact(domain, "issuing.default", key_id.encode())

    def _same_root(self, domain: str, key_name: str, certificate: x509.Certificate) -> None:
        """A key that was certified by one root stays below it: another root would cut off who trusts only the first."""
        before = self._vault.read_fact(domain, f"{key_name}.der")
        if before is not None and x509.load_der_x509_certificate(before).issuer != certificate.issuer:
            msg = "This CA's key is certified by another root; create a new issuing CA for a new root (`ca csr`)."
            raise InvalidError(msg)

    def get(self, domain: str, key_id: str) -> rules.Issuer:
        """Return an issuing CA.

        Args:
            domain: slug.
            key_id: hex subject key identifier, or empty for the current one (the first, until it is switched).

        Raises:
            NotFoundError: there is none.
        """
        if domain not in self._known:
            self._known[domain] = self._load(domain)
        known = self._known[domain]
        if not known:
            msg = f"The domain {domain} has no issuing CA yet; run `manage.py ca csr` and `ca import`."
            raise NotFoundError(msg)
        if not key_id:
            chosen = (self._vault.read_fact(domain, "issuing.default") or b"").decode()
            return known.get(chosen) or next(iter(known.values()))
        if key_id not in known:
            msg = "The signer has no issuing CA with that key."
            raise NotFoundError(msg)
        return known[key_id]

    def _load(self, domain: str) -> dict[str, rules.Issuer]:
        issuers = {}
        for key_name in self._key_names(domain):
            der = self._vault.read_fact(domain, f"{key_name}.der")
            if der is not None:
                certificate = x509.load_der_x509_certificate(der)
                url = (self._vault.read_fact(domain, f"{key_name}.status") or b"").decode()
                issuer = rules.Issuer(certificate, self._vault.authority(domain, key_name), url)
                issuers[rules.key_id(certificate)] = issuer
        return issuers

    def _key_names(self, domain: str) -> list[str]:
        return sorted((name for name in self._vault.names(domain) if _KEY_NAME.fullmatch(name)), key=_number)


def _number(key_name: str) -> int:
    return int(key_name.partition("-")[2] or 1)
