"""Install the CA tree of a domain: offline root, issuing CA whose key the signer holds."""

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from django.db import transaction

from pki import x509 as rules
from pki.kernel.actor import Actor, Role
from pki.kernel.errors import InvalidError
from pki.models import Authority, TrustDomain
from pki.selectors import domain as domain_of
from pki.services import ledger, signing


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
    signing.client("admin").install_authority(domain.slug, certificate, root)
    with transaction.atomic():
        above = _keep(domain, Authority.Kind.ROOT, _load(root), None)
        issuing = _keep(domain, Authority.Kind.ISSUING, _load(certificate), above)
        others = Authority.objects.filter(domain=domain, kind=Authority.Kind.ISSUING).exclude(pk=issuing.pk)
        others.update(state=Authority.State.RETIRED)
        detail = {"fingerprint": issuing.fingerprint, "root": above.fingerprint}
        ledger.record(actor=actor, action="authority.installed", thing=("authority", issuing.public_id), detail=detail)
    return issuing


def _load(pem: bytes) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError as error:
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
            "der": certificate.public_bytes(serialization.Encoding.DER),
            "parent": parent,
            "not_before": certificate.not_valid_before_utc,
            "not_after": certificate.not_valid_after_utc,
        },
    )
    return authority
