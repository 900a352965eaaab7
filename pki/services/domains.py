"""Make trust domains."""

from django.db import transaction

from pki.kernel.actor import Actor, Role
from pki.models import TrustDomain
from pki.services import ledger


def create(*, actor: Actor, slug: str, name: str, host_names: list[str]) -> TrustDomain:
    """Make a trust domain, or bring the host names of the one with this slug up to date."""
    actor.require(Role.ADMIN)
    with transaction.atomic():
        domain, made = TrustDomain.objects.get_or_create(slug=slug, defaults={"name": name, "host_names": host_names})
        if not made and domain.host_names != host_names:
            domain.host_names = host_names
            domain.save(update_fields=["host_names"])
        if made:
            ledger.record(actor=actor, action="domain.created", thing=("domain", slug), domain=domain)
    return domain
