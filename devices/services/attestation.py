"""Challenge a TPM (credential activation) and check its attestation; a challenge is valid once, for five minutes."""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import timedelta

from cryptography import x509
from django.db import transaction

from devices.models import HardwareIdentity, TpmChallenge, VendorAnchor
from devices.proofs.claim import TpmIdentity
from pki import x509 as rules
from pki.foreign import read_certificate
from pki.kernel import clock
from pki.kernel.errors import DomainError, InvalidError, LimitedError, UnauthenticatedError
from pki.selectors import get_domain as domain_of
from pki.services import own_keys
from pki.tpm import credential, structures

LIFE = timedelta(minutes=5)
MOST_OPEN = 1000
EK_USAGE = "2.23.133.8.1"
PCRS = (0, 7)
REFUSAL = "The TPM's endorsement key has no certificate from a trusted vendor CA."


@dataclass(frozen=True, slots=True)
class Challenge:
    """Challenge for a device: decrypt ``blob`` (TPM2B_ID_OBJECT || TPM2B_ENCRYPTED_SECRET), quote over ``nonce``."""

    session: str
    blob: bytes
    nonce: bytes
    pcrs: tuple[int, ...] = PCRS


@dataclass(frozen=True, slots=True)
class Attestation:
    """Answer of a device to a challenge.

    Args:
        session: of the challenge.
        secret: that only the TPM could read.
        key_public: TPM2B_PUBLIC of the device's key.
        key_attest: TPMS_ATTEST by which the AK certifies it.
        key_signature: TPMT_SIGNATURE over that.
        quote: TPMS_ATTEST over the PCRs and the nonce.
        quote_signature: TPMT_SIGNATURE over that.
        pcrs: the PCR values in order, joined.
    """

    session: str
    secret: bytes
    key_public: bytes
    key_attest: bytes
    key_signature: bytes
    quote: bytes
    quote_signature: bytes
    pcrs: bytes


def challenge(*, domain: str, ek_certificate: bytes, ek_public: bytes, ak_public: bytes) -> Challenge:
    """Check a TPM's endorsement key and return a challenge for it.

    Raises:
        UnauthenticatedError: no trusted vendor has certified the key.
        InvalidError: a structure is malformed, or a key has not the attributes that it must have.
    """
    ek, ak = structures.parse_public(ek_public), structures.parse_public(ak_public)
    credential.check_ek(ek)
    credential.check_ak(ak)
    anchor, serial = _vouched(domain, ek_certificate, ek)
    secret, nonce = secrets.token_bytes(credential.SECRET_BYTES), secrets.token_bytes(20)
    with transaction.atomic():
        now = clock.now()
        TpmChallenge.objects.filter(expires_at__lt=now - timedelta(days=1)).delete()
        open_ones = TpmChallenge.objects.filter(domain__slug=domain, used_at__isnull=True, expires_at__gt=now)
        if open_ones.count() >= MOST_OPEN:
            msg = "Too many TPM challenges are pending. Try again in a minute."
            raise LimitedError(msg, retry_after=60)
        row = TpmChallenge.objects.create(
            domain=domain_of(domain),
            secret_hash=hashlib.sha256(secret).hexdigest(),
            nonce=nonce.hex(),
            ak_public=ak_public,
            ek_hash=rules.spki_sha256(ek.key),
            anchor=anchor,
            serial=serial,
            expires_at=now + LIFE,
        )
    return Challenge(str(row.public_id), credential.make_credential(ek, ak.name, secret), nonce)


def check_attestation(*, domain: str, answer: Attestation, csr: x509.CertificateSigningRequest) -> TpmIdentity:
    """Check the answer to a challenge and return the TPM that gave it.

    Raises:
        UnauthenticatedError: unknown, late or used challenge, or the secret is wrong.
        InvalidError: an attestation does not say what it must.
    """
    row = _use(domain, answer)
    ak = structures.parse_public(bytes(row.ak_public))
    try:
        key = _certified(ak, answer)
        credential.check_device_key(key)
        if rules.csr_key(csr) != key.key:
            msg = "The certificate request's key is not the key that the TPM certified."
            raise InvalidError(msg)
        digest = _quoted(ak, answer, bytes.fromhex(row.nonce))
    except DomainError as error:
        raise InvalidError(error.detail) from error
    facts = {"pcrs": {"sha256": list(PCRS)}, "pcr_digest": digest.hex(), "ak_name": ak.name.hex()}
    return TpmIdentity(row.ek_hash, row.anchor.name, row.serial, facts, row.anchor.hardware_model)


def _use(domain: str, answer: Attestation) -> TpmChallenge:
    """Invalidate the challenge, whether the answer is right or wrong: there is only one attempt."""
    with transaction.atomic():
        rows = TpmChallenge.objects.select_for_update(of=("self",)).select_related("anchor__hardware_model")
        row = rows.filter(domain__slug=domain, public_id=answer.session, used_at__isnull=True).first()
        if row is not None:
            row.used_at = clock.now()
            row.save(update_fields=["used_at"])
    late = row is None or row.expires_at <= clock.now() or row.anchor.withdrawn_at is not None
    given = hashlib.sha256(answer.secret).hexdigest()
    if row is None or late or not hmac.compare_digest(given, row.secret_hash):
        msg = "The challenge is unknown, expired, or was answered incorrectly. Request a new one."
        raise UnauthenticatedError(msg)
    return row


def _certified(ak: structures.Public, answer: Attestation) -> structures.Public:
    credential.verify_signature(ak.key, answer.key_signature, answer.key_attest)
    attest, key = structures.parse_attest(answer.key_attest), structures.parse_public(answer.key_public)
    if attest.kind != structures.CERTIFY or attest.name != key.name:
        msg = "The attestation key certified a different key."
        raise InvalidError(msg)
    return key


def _quoted(ak: structures.Public, answer: Attestation, nonce: bytes) -> bytes:
    credential.verify_signature(ak.key, answer.quote_signature, answer.quote)
    quote = structures.parse_attest(answer.quote)
    if quote.kind != structures.QUOTE or not hmac.compare_digest(quote.nonce, nonce):
        msg = "The quote does not match this challenge."
        raise InvalidError(msg)
    if quote.selections != ((structures.SHA256, PCRS),) or quote.digest != hashlib.sha256(answer.pcrs).digest():
        msg = "The quote covers other PCRs or values than the ones that were requested and sent."
        raise InvalidError(msg)
    return quote.digest


def _vouched(domain: str, der: bytes, ek: structures.Public) -> tuple[VendorAnchor, str]:
    """Return the vendor of an endorsement key; check its signature, dates, usage and key.

    A TLS verifier would refuse most of these certificates: their subject is often empty.
    """
    try:
        shown = read_certificate(der, "The endorsement key's certificate")
        certificate = shown.certificate
        usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except InvalidError as error:
        raise UnauthenticatedError(error.detail) from error
    except x509.ExtensionNotFound as error:
        raise UnauthenticatedError(REFUSAL) from error
    now = clock.now()
    in_time = certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc
    if not in_time or EK_USAGE not in {usage.dotted_string for usage in usages} or certificate.public_key() != ek.key:
        raise UnauthenticatedError(REFUSAL)
    rows = VendorAnchor.objects.filter(domain__slug=domain, kind=HardwareIdentity.Kind.TPM, withdrawn_at__isnull=True)
    for row in rows:
        above = read_certificate(bytes(row.der)).certificate
        if not own_keys.is_own(above) and shown.is_issued_by(above):
            return row, f"{certificate.serial_number:x}"
    raise UnauthenticatedError(REFUSAL)
