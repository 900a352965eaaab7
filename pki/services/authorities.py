"""Install the CA tree of a domain: offline root, issuing CA whose key the signer holds."""

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from django.db import transaction

from pki import x509 as rules
from pki.kernel.actor import Actor, Role
from pki.kernel.errors import InvalidError
from pki.models import Authority, TrustDomain
from pki.selectors import domain as domain_of
from pki.services import journal, ledger, signing


def csr(*, actor: Actor, name: str) -> bytes:
    """Make the issuing CA's key in the signer (or find it) and return its request in PEM."""
    actor.require(Role.SECURITY_OFFICER)
    domain = domain_of(actor.domain)
    request = signing.client("admin").create_authority_key(domain.slug, name)
    with transaction.atomic():
        ledger.record(actor=actor, action="authority.requested", thing=("authority", name), domain=domain)
    return request


def install(*, actor: Actor, certificate: bytes, root: bytes) -> Authority:
    """Install the issuing CA's certificate and its root (both PEM); the signer checks them first."""
    actor.require(Role.SECURITY_OFFICER)
    domain = domain_of(actor.domain)
    issued, anchor = _load(certificate), _load(root)
    signing.client("admin").install_authority(domain.slug, _der(issued), _der(anchor))
    with transaction.atomic():
        journal.append("authority", domain=domain.slug, certificate=_der(issued).hex(), root=_der(anchor).hex())
        issuing, above = _keep_both(domain, issued, anchor)
        detail = {"fingerprint": issuing.fingerprint, "root": above.fingerprint}
        ledger.record(actor=actor, action="authority.installed", thing=("authority", issuing.public_id), detail=detail)
    return issuing


def install_again(fact: dict[str, str]) -> bool:
    """Bring back a CA from the journal that a restored database does not know."""
    domain = domain_of(fact["domain"])
    issued, anchor = (x509.load_der_x509_certificate(bytes.fromhex(fact[name])) for name in ("certificate", "root"))
    if Authority.objects.filter(domain=domain, fingerprint=rules.fingerprint(issued)).exists():
        return False
    _keep_both(domain, issued, anchor)
    return True


def _keep_both(
    domain: TrustDomain, certificate: x509.Certificate, root: x509.Certificate
) -> tuple[Authority, Authority]:
    above = _keep(domain, Authority.Kind.ROOT, root, None)
    issuing = _keep(domain, Authority.Kind.ISSUING, certificate, above)
    others = Authority.objects.filter(domain=domain, kind=Authority.Kind.ISSUING).exclude(pk=issuing.pk)
    others.update(state=Authority.State.RETIRED)
    return issuing, above


def _load(pem: bytes) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(pem)
    except (ValueError, x509.InvalidVersion) as error:
        msg = "This is not a certificate in PEM."
        raise InvalidError(msg) from error


def _keep(
    domain: TrustDomain, kind: Authority.Kind, certificate: x509.Certificate, parent: Authority | None
) -> Authority:
    authority, _ = Authority.objects.get_or_create(
        domain=domain,
        fingerprint=rules.fingerprint(certificate),
        defaults={
            "kind": kind,
            "name": certificate.subject.rfc4514_string()[:200],
            "der": _der(certificate),
            "parent": parent,
            "not_before": certificate.not_valid_before_utc,
            "not_after": certificate.not_valid_after_utc,
        },
    )
    return authority


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)
