"""Make trust domains."""

import re
import uuid

from django.db import transaction

from pki.kernel.actor import Actor
from pki.kernel.errors import ConflictError, InvalidError
from pki.kernel.permissions import Action, require_action
from pki.models import TrustDomain
from pki.services import changes, journal, ledger

_SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
MOST_HOST_NAMES = 20


def create(*, actor: Actor, slug: str, name: str, host_names: list[str]) -> TrustDomain:
    """Make a trust domain, or bring the host names of the one with this slug up to date.

    Raises:
        InvalidError: the slug is too long for certificates, or there are too many host names.
        ConflictError: another domain has one of the host names; a request could belong to both.
    """
    require_action(actor, Action.CREATE_DOMAIN)
    if not _SLUG.fullmatch(slug) or len(host_names) > MOST_HOST_NAMES:
        msg = (
            f"A domain must have a slug of lower-case letters, digits and hyphens, and at most {MOST_HOST_NAMES} "
            "host names."
        )
        raise InvalidError(msg)
    with transaction.atomic():
        _demand_free(slug, host_names)
        domain, created = TrustDomain.objects.get_or_create(
            slug=slug, defaults={"name": name, "host_names": host_names}
        )
        if not created and domain.host_names != host_names:
            domain.host_names = host_names
            domain.save(update_fields=["host_names"])
            changes.note_changes()
        if created:
            changes.note_changes()
            journal.append_fact("domain", domain=slug, key=str(domain.public_id), name=name, host_names=host_names)
            ledger.record(actor=actor, action="domain.created", thing=("domain", slug), domain=domain)
    return domain


def create_again(fact: journal.Fact) -> bool:
    """Bring back a domain from the journal that a restored database does not know."""
    key = uuid.UUID(journal.text_of(fact, "key"))
    defaults = {"public_id": key, "name": fact["name"], "host_names": fact["host_names"]}
    return TrustDomain.objects.get_or_create(slug=fact["domain"], defaults=defaults)[1]


def _demand_free(slug: str, host_names: list[str]) -> None:
    hosts = {name.lower() for name in host_names}
    for other in TrustDomain.objects.exclude(slug=slug):
        if taken := hosts & {name.lower() for name in other.host_names}:
            msg = f"The host name {min(taken)} belongs to another domain."
            raise ConflictError(msg)
