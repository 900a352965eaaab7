"""Install the CA tree of a domain: offline roots, issuing CAs whose keys the signer holds, links of a rollover."""

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet

from pki import x509 as rules
from pki.foreign import read_certificate
from pki.kernel.actor import Actor
from pki.kernel.errors import ConflictError, InvalidError, NotFoundError
from pki.kernel.pem import read_der
from pki.kernel.permissions import Action, permitted_rows, require_action
from pki.models import Authority, TrustDomain
from pki.selectors import get_domain as domain_of
from pki.services import journal, ledger, signing


def issuing_csr(*, actor: Actor, name: str, authority: str = "") -> bytes:
    """Return the request of an issuing CA in PEM.

    Args:
        actor: a security officer.
        name: common name.
        authority: key id of an installed CA whose key must be certified again; else a key is made, or the one
            found that waits for its certificate.
    """
    require_action(actor, Action.INSTALL_AUTHORITY)
    domain = domain_of(actor.domain)
    request = signing.signer_client("admin").create_authority_key(domain.slug, name, authority)
    with transaction.atomic():
        ledger.record(actor=actor, action="authority.requested", thing=("authority", name), domain=domain)
    return request


def install(*, actor: Actor, certificate: bytes, root: bytes) -> Authority:
    """Install an issuing CA's certificate and its root (both PEM); the signer checks them first."""
    require_action(actor, Action.INSTALL_AUTHORITY)
    domain = domain_of(actor.domain)
    issued, anchor = load_certificate(certificate), load_certificate(root)
    signing.signer_client("admin").install_authority(domain.slug, _der(issued), _der(anchor), settings.FLEET_STATUS_URL)
    with transaction.atomic():
        journal.append_fact("authority", domain=domain.slug, certificate=_der(issued).hex(), root=_der(anchor).hex())
        issuing, above = _keep_both(domain, issued, anchor)
        detail = {"fingerprint": issuing.fingerprint, "root": above.fingerprint}
        ledger.record(actor=actor, action="authority.installed", thing=("authority", issuing.public_id), detail=detail)
    return issuing


def install_link(*, actor: Actor, certificate: bytes) -> Authority:
    """Install a link between two roots (NewWithOld, OldWithNew), so that each anchor leads to what the other certifies.

    Raises:
        InvalidError: it does not certify one known root's key by another known root.
    """
    roots = permitted_rows(actor, Action.INSTALL_AUTHORITY, Authority.objects.filter(kind=Authority.Kind.ROOT))
    domain, cross = domain_of(actor.domain), load_certificate(certificate)
    known = [x509.load_der_x509_certificate(bytes(row.der)) for row in roots]
    above = next((authority for authority in known if rules.issued_by(cross, authority)), None)
    below = next(
        (authority for authority in known if authority.public_key() == cross.public_key() and authority != above), None
    )
    if above is None or below is None or cross.subject != below.subject:
        msg = "A link certificate must connect two of this domain's roots. Import both trees first."
        raise InvalidError(msg)
    with transaction.atomic():
        journal.append_fact("link", domain=domain.slug, certificate=_der(cross).hex())
        row = _keep(domain, Authority.Kind.LINK, cross, None)
        detail = {"from": rules.certificate_fingerprint(above), "to": rules.certificate_fingerprint(below)}
        ledger.record(actor=actor, action="authority.linked", thing=("authority", row.public_id), detail=detail)
    return row


def link_again(fact: journal.Fact) -> bool:
    """Bring back a link from the journal that a restored database does not know."""
    domain, der = domain_of(journal.text_of(fact, "domain")), bytes.fromhex(journal.text_of(fact, "certificate"))
    cross = x509.load_der_x509_certificate(der)
    if Authority.objects.filter(domain=domain, fingerprint=rules.certificate_fingerprint(cross)).exists():
        return False
    _keep(domain, Authority.Kind.LINK, cross, None)
    return True


def use_issuer(*, actor: Actor, key_id: str, detail: dict[str, object]) -> Authority:
    """Switch issuance to another CA, for server certificates, and for profiles that name no CA.

    ``devices.services.rollover.switch_issuing_ca`` first checks that no device is cut off.
    """
    row = permitted_rows(actor, Action.SWITCH_AUTHORITY, _active()).filter(key_id=key_id).order_by("-id").first()
    if row is None:
        msg = "There is no active issuing CA with that key. `manage.py ca show` lists them."
        raise NotFoundError(msg)
    signing.signer_client("admin").use_authority(actor.domain, key_id)
    with transaction.atomic():
        ledger.record(
            actor=actor,
            action="authority.switched",
            thing=("authority", row.public_id),
            detail={"to": key_id, **detail},
        )
    return row


def retire(*, actor: Actor, key_id: str) -> list[Authority]:
    """Stop issuance under a CA; certificates that it has issued stay valid.

    Raises:
        NotFoundError: there is no active issuing CA of that key.
        ConflictError: it is the last one.
    """
    active = permitted_rows(actor, Action.RETIRE_AUTHORITY, _active())
    with transaction.atomic():
        rows = list(active.filter(key_id=key_id))
        if not rows:
            msg = "There is no active issuing CA with that key. `manage.py ca show` lists them."
            raise NotFoundError(msg)
        if not active.exclude(key_id=key_id).exists():
            msg = "This is the last issuing CA. Install another one first."
            raise ConflictError(msg)
        for row in rows:
            row.state = Authority.State.RETIRED
            row.save(update_fields=["state"])
        ledger.record(actor=actor, action="authority.retired", thing=("authority", rows[0].public_id))
    return rows


def install_again(fact: journal.Fact) -> bool:
    """Bring back a CA from the journal that a restored database does not know."""
    domain = domain_of(journal.text_of(fact, "domain"))
    ders = (bytes.fromhex(journal.text_of(fact, name)) for name in ("certificate", "root"))
    issued, anchor = map(x509.load_der_x509_certificate, ders)
    if Authority.objects.filter(domain=domain, fingerprint=rules.certificate_fingerprint(issued)).exists():
        return False
    _keep_both(domain, issued, anchor)
    return True


def _active() -> QuerySet[Authority]:
    return Authority.objects.filter(kind=Authority.Kind.ISSUING, state=Authority.State.ACTIVE)


def _keep_both(
    domain: TrustDomain, certificate: x509.Certificate, root: x509.Certificate
) -> tuple[Authority, Authority]:
    above = _keep(domain, Authority.Kind.ROOT, root, None)
    return _keep(domain, Authority.Kind.ISSUING, certificate, above), above


def load_certificate(pem: bytes) -> x509.Certificate:
    """Return a certificate from PEM.

    Raises:
        InvalidError: it is not a certificate.
    """
    given = read_certificate(read_der(pem, "CERTIFICATE"))
    try:
        return x509.load_der_x509_certificate(given.der)
    except ValueError as error:
        msg = f"This certificate is not in DER: {str(error)[:160]}. Omit default values from its extensions."
        raise InvalidError(msg) from error


def _keep(
    domain: TrustDomain, kind: Authority.Kind, certificate: x509.Certificate, parent: Authority | None
) -> Authority:
    authority, _ = Authority.objects.get_or_create(
        domain=domain,
        fingerprint=rules.certificate_fingerprint(certificate),
        defaults={
            "kind": kind,
            "name": certificate.subject.rfc4514_string()[:200],
            "der": _der(certificate),
            "key_id": rules.key_id(certificate),
            "parent": parent,
            "not_before": certificate.not_valid_before_utc,
            "not_after": certificate.not_valid_after_utc,
        },
    )
    return authority


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)
