"""A one-time token, as the password of HTTP Basic or as a bearer token."""

import logging

from cryptography import x509

from devices.errors import TokenError
from devices.models import Device, EnrolmentToken, HardwareModel
from devices.names import secret_hash
from devices.proofs.claim import Claim, checked_name, wished_name
from pki.kernel import clock
from pki.kernel.recent import Recent
from pki.models import TrustDomain, prepared_sql

_models: Recent[int, HardwareModel] = Recent(seconds=1.0)
_logger = logging.getLogger(__name__)
REFUSAL = "The enrolment token is not valid for this request. Ask the operator for a new one."


def claim_by_token(home: TrustDomain, secret: str, csr: x509.CertificateSigningRequest) -> Claim:
    """Return what a token permits; the row stays locked until the caller's transaction ends.

    Raises:
        TokenError: unknown, expired, withdrawn, or for another name; one sentence for all.
    """
    digest, token = _usable(home, secret, lock=True)
    wished = wished_name(csr)
    if token.device_name and wished and wished != token.device_name:
        _logger.warning("an enrolment was refused", extra={"cause": "name", "token": str(token.public_id)})
        raise TokenError(REFUSAL)
    return Claim(
        "token",
        digest,
        checked_name(token.device_name or wished),
        _models.get(token.hardware_model_id, lambda: token.hardware_model),
        token.profile,
        replaces=token.replaces,
        why_approval="a replacement board for an existing device" if token.replaces else "",
        use=lambda device, spki: _use(token, device, spki),
        done=(token.used_by, token.used_spki) if token.used_by else None,
        journal={"token": digest},
    )


def refuse_unknown_token(home: TrustDomain, secret: str) -> None:
    """Refuse a secret that is no token's, without a lock: on SQLite guesses would take turns with all writers.

    Raises:
        TokenError: as ``claim_by_token`` raises it.
    """
    _usable(home, secret, lock=False)


def _usable(home: TrustDomain, secret: str, *, lock: bool) -> tuple[str, EnrolmentToken]:
    # The look-up is by the hash of 256 random bits, so its timing tells nothing about the secret.
    digest = secret_hash(secret[:200])
    token = prepared_sql.get_row(EnrolmentToken, lock=lock, secret_hash=digest)
    if token is not None and token.domain_id != home.pk:
        token = None
    cause = "unknown" if token is None else token.state
    if token is None or cause in {"withdrawn", "expired"}:
        _logger.warning("an enrolment was refused", extra={"cause": cause, "trust_domain": home.slug})
        raise TokenError(REFUSAL)
    return digest, token


def is_known(secret: str) -> bool:
    """Return whether a secret is that of a token that was not withdrawn; takes no lock and tells nothing else."""
    return EnrolmentToken.objects.filter(secret_hash=secret_hash(secret[:200]), withdrawn_at__isnull=True).exists()


def mark_used(secret_hash: str, device: Device, spki: str) -> bool:
    """Mark a token used, as the journal says; return whether it was open until now."""
    token = EnrolmentToken.objects.filter(secret_hash=secret_hash, used_at__isnull=True).first()
    if token is None:
        return False
    _use(token, device, spki)
    return True


def _use(token: EnrolmentToken, device: Device, spki: str) -> None:
    token.used_at, token.used_by_id, token.used_spki = clock.now(), device.pk, spki
    prepared_sql.update_row(token, "used_at", "used_by", "used_spki")
