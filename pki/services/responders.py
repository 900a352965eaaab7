"""Answer OCSP requests (RFC 6960) for every issuing CA of this server, with delegated responders.

A responder's key is in this process's memory for two days at most. An attacker in this process can lie about
standings until then, and as long as he could by asking the signer: but our own listeners never ask OCSP.
"""

import threading
from dataclasses import dataclass, field
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from pki import ocsp
from pki.errors import SignerError
from pki.kernel import clock
from pki.kernel.errors import DomainError
from pki.models import Authority
from pki.profiles import OCSP
from pki.selectors import standing_by_serial
from pki.services import signing


@dataclass(frozen=True, slots=True)
class OcspAnswer:
    """One answer.

    Args:
        der: of the OCSPResponse.
        until: nextUpdate, or None for what must not be cached.
        signed_at: thisUpdate.
    """

    der: bytes
    until: datetime | None = None
    signed_at: datetime | None = None


@dataclass(slots=True)
class Responders:
    """The responders of all issuing CAs, made at first use and again before they end."""

    _by_key: dict[tuple[str, bytes], tuple[bytes, str]] = field(default_factory=dict)
    _ready: dict[str, ocsp.Responder] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, data: bytes) -> OcspAnswer:
        """Return the answer to a request in DER; it never fails for any request."""
        question = ocsp.read_question(data)
        if question is None:
            return OcspAnswer(ocsp.malformed_answer())
        key_id = self._issuer(question)
        if not key_id:
            return OcspAnswer(ocsp.unauthorized_answer())
        now = clock.now().replace(microsecond=0)
        try:
            responder = self._responder(key_id, now)
        except DomainError:
            return OcspAnswer(ocsp.try_later())
        row = standing_by_serial(key_id, question.serial)
        standing = (
            ocsp.OcspStatus(known=False)
            if row is None
            else ocsp.OcspStatus(known=True, revoked_at=row[0], reason=row[1])
        )
        der = ocsp.sign_answer(responder, question, standing, now)
        return OcspAnswer(der, None if question.nonce else now + ocsp.LIFE, now)

    def _issuer(self, question: ocsp.Question) -> str:
        """Return the key id of the CA that both issuer hashes name, or an empty string."""
        asked = (question.algorithm.name, question.key_hash)
        if asked not in self._by_key:
            self._learn()
        name, key_id = self._by_key.get(asked, (b"", ""))
        return key_id if name == question.name_hash else ""

    def _learn(self) -> None:
        for row in Authority.objects.filter(kind=Authority.Kind.ISSUING):
            certificate = x509.load_der_x509_certificate(bytes(row.der))
            for asked, name in ocsp.issuer_hashes(certificate).items():
                self._by_key[asked] = (name, row.key_id)

    def _responder(self, key_id: str, now: datetime) -> ocsp.Responder:
        ready = self._ready.get(key_id)
        if ready is None or now > ready.certificate.not_valid_after_utc - OCSP.renewal:
            with self._lock:
                ready = self._ready[key_id] = _made(key_id)
        return ready


def _made(key_id: str) -> ocsp.Responder:
    rows = Authority.objects.filter(key_id=key_id, kind=Authority.Kind.ISSUING).select_related("domain")
    domain = rows.order_by("-id")[0].domain
    pem, der, above = signing.signer_client("status").ocsp_identity(domain.slug, key_id)
    key = serialization.load_pem_private_key(pem, None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        msg = "The signer did not return an elliptic curve key."
        raise SignerError(msg)
    return ocsp.Responder(key, x509.load_der_x509_certificate(der), x509.load_der_x509_certificate(above))
