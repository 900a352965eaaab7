"""Switch to a new root without cutting off devices that trust only the old one."""

from dataclasses import dataclass
from datetime import timedelta

from django.db import transaction
from django.db.models import Count, Q, QuerySet

from devices.models import Device, SwitchOverride
from devices.twin_documents import ROOT_MARK
from pki.kernel import clock
from pki.kernel.actor import Actor, ActorKind
from pki.kernel.errors import ConflictError, NotFoundError
from pki.kernel.permissions import Action, require_action
from pki.models import Authority
from pki.selectors import get_domain as domain_of
from pki.services import authorities, ledger

SHOWN = 5
LIFE = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Readiness:
    """Devices that can follow a switch, and those that cannot.

    Args:
        ready: active devices that have reported the new root among their anchors.
        behind: active devices that do not; they reject our server certificates unless there is a link certificate.
        linked: a link (NewWithOld) leads from the old anchor to the new tree.
    """

    ready: int
    behind: int
    linked: bool


def switch_readiness(*, actor: Actor, key_id: str) -> Readiness:
    """Return the readiness of devices for a switch to an issuing CA."""
    require_action(actor, Action.READ)
    root = _root(actor.domain, key_id)
    trusting = Count("id", filter=Q(trusted_roots__contains=root.fingerprint[:ROOT_MARK]))
    many = _active(actor.domain).aggregate(every=Count("id"), ready=trusting)
    links = Authority.objects.filter(domain__slug=actor.domain, kind=Authority.Kind.LINK, key_id=root.key_id)
    return Readiness(many["ready"], many["every"] - many["ready"], links.exists())


def _active(slug: str) -> QuerySet[Device]:
    return Device.objects.filter(domain__slug=slug, state=Device.State.ACTIVE)


def switch_issuing_ca(*, actor: Actor, key_id: str, override: bool = False) -> Authority:
    """Switch issuance to another CA, unless active devices trust only another root.

    Args:
        actor: a security officer.
        key_id: of the issuing CA.
        override: switch although some devices are not ready; two people must each request it.

    Raises:
        ConflictError: some are behind; or a second person has to ask for the override as well.
    """
    require_action(actor, Action.SWITCH_AUTHORITY)
    readiness = switch_readiness(actor=actor, key_id=key_id)
    detail: dict[str, object] = {"ready": readiness.ready, "behind": readiness.behind}
    if readiness.behind and not override:
        trusting = Q(trusted_roots__contains=_root(actor.domain, key_id).fingerprint[:ROOT_MARK])
        late = _active(actor.domain).exclude(trusting, trusted_roots__isnull=False)
        names = list(late.values_list("name", flat=True)[:SHOWN])
        msg = (
            f"{readiness.behind} active devices do not trust the new root yet (such as {', '.join(names)});"
            " roll out the anchor first, or have two security officers override this check."
        )
        raise ConflictError(msg)
    if readiness.behind:
        detail |= {"override": _two_people(actor, key_id)}
    return authorities.use_issuer(actor=actor, key_id=key_id, detail=detail)


def _two_people(actor: Actor, key_id: str) -> list[str]:
    """Return the two people who request an override; the first request is valid for a day.

    Raises:
        ConflictError: no second person has requested it yet.
    """
    who = f"{actor.kind}:{actor.key}"
    if actor.kind is not ActorKind.OPERATOR:
        msg = "People request an override in the console or through the API, not with a command."
        raise ConflictError(msg)
    with transaction.atomic():
        rows = SwitchOverride.objects.filter(domain__slug=actor.domain, key_id=key_id, asked_at__gt=clock.now() - LIFE)
        other = rows.exclude(asked_by=who).order_by("-id").first()
        if other is not None:
            return sorted([other.asked_by, who])
        SwitchOverride.objects.create(domain=domain_of(actor.domain), key_id=key_id, asked_by=who)
        thing = ("authority", key_id)
        ledger.record(actor=actor, action="authority.override-asked", thing=thing, detail={})
    msg = "Your override request is recorded. A second security officer must request it too within 24 hours."
    raise ConflictError(msg)


def _root(slug: str, key_id: str) -> Authority:
    rows = Authority.objects.filter(domain__slug=slug, kind=Authority.Kind.ISSUING, key_id=key_id)
    row = rows.select_related("parent").order_by("-id").first()
    if row is None or row.parent is None:
        msg = "There is no issuing CA with that key. `manage.py ca show` lists them."
        raise NotFoundError(msg)
    return row.parent
