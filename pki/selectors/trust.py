"""CA certificates, their profiles and revocation lists."""

from cryptography import x509
from django.db.models import QuerySet

from pki.kernel.actor import Actor
from pki.kernel.permissions import Action, permitted_rows
from pki.models import Authority, CertificateProfile, CrlShard


def list_authorities(*, actor: Actor) -> list[Authority]:
    """Return a domain's CA certificates, roots first."""
    return list(authority_rows(actor=actor).order_by("-kind", "id"))


def authority_rows(*, actor: Actor) -> QuerySet[Authority]:
    """Return a domain's CA certificates."""
    return permitted_rows(actor, Action.READ, Authority.objects.all()).order_by("id")


def list_profiles(*, actor: Actor) -> QuerySet[CertificateProfile]:
    """Return the certificate profiles that a domain has defined."""
    return permitted_rows(actor, Action.READ, CertificateProfile.objects.all()).order_by("name")


def trust_anchors(*, actor: Actor) -> list[x509.Certificate]:
    """Return the CA certificates of a domain as certificates: roots, issuing CAs, links of a rollover."""
    return [x509.load_der_x509_certificate(bytes(authority.der)) for authority in list_authorities(actor=actor)]


def root_links(*, actor: Actor) -> list[x509.Certificate]:
    """Return the links between a domain's roots; servers send them, so that each anchor leads to the current chain."""
    rows = permitted_rows(actor, Action.READ, Authority.objects.all()).filter(kind=Authority.Kind.LINK).order_by("id")
    return [x509.load_der_x509_certificate(bytes(row.der)) for row in rows]


def authority_der(key_id: str) -> bytes | None:
    """Return the newest certificate of a CA of this server in DER, by its key id, or None."""
    der = Authority.objects.filter(key_id=key_id).order_by("-id").values_list("der", flat=True).first()
    return None if der is None else bytes(der)


def crl_shards(*, actor: Actor) -> QuerySet[CrlShard]:
    """Return a domain's revocation lists."""
    return permitted_rows(actor, Action.READ, CrlShard.objects.all()).order_by("key_id", "shard")
