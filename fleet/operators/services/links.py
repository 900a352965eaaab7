"""One-time links: they open the first set-up of an account or its recovery, and end in two proved factors.

A link signs nobody in by itself. A person has one live link; a newer one, finished set-up and an hour's time end it.
A link that recovers somebody with a security role works only after a second admin has approved it.
"""

import hashlib
import secrets
from datetime import timedelta

from django.contrib.auth.hashers import make_password
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Q, QuerySet

from fleet.operators import totp
from fleet.operators.identity import actor_for
from fleet.operators.models import LoginLink, Operator
from fleet.operators.services import throttle
from fleet.operators.services.factors import open_secret, seal_secret
from pki.kernel import clock
from pki.kernel.actor import Actor, ActorKind, Role
from pki.kernel.errors import ConflictError, DeniedError, InvalidError, UnauthenticatedError
from pki.kernel.permissions import Action, require_on
from pki.services import ledger

LINK_LIFE = timedelta(hours=1)
#: who holds one of these can change what the fleet trusts, or who may
SECURITY_ROLES = frozenset({Role.ADMIN, Role.SECURITY_OFFICER, Role.RELEASE_OFFICER})
_DEAD = "This link was used, was replaced by a newer one, has expired or never existed. Ask an admin for a new one."


def create_link(*, actor: Actor, operator: Operator) -> tuple[LoginLink, str]:
    """Create the one live link of an operator; return it with its path, which is shown this once.

    Raises:
        DeniedError: the actor is no admin, or came by an API token.
        ConflictError: the link would need the approval of a second admin, and there is none.
    """
    operator = require_on(actor, Action.CREATE_SIGN_IN_LINK, Operator.objects.all(), operator)
    actor.require_person()
    word = secrets.token_urlsafe(32)
    purpose = LoginLink.Purpose.RECOVERY if operator.set_up else LoginLink.Purpose.SET_UP
    with transaction.atomic():
        now = clock.now()
        needs_approval = purpose == LoginLink.Purpose.RECOVERY and _needs_approval(actor, operator)
        _void_links(operator)
        link = LoginLink.objects.create(
            operator=operator,
            purpose=purpose,
            secret_hash=_hash(word),
            created_by=actor.key,
            expires_at=now + LINK_LIFE,
            needs_approval=needs_approval,
        )
        detail = {"purpose": str(purpose), "needs_approval": needs_approval}
        ledger.record(actor=actor, action="operator.link-made", thing=("operator", operator.username), detail=detail)
    return link, f"/sign-in/link/{word}"


def approve_link(*, actor: Actor, operator: Operator) -> LoginLink:
    """Approve the live recovery link of an operator as the second admin.

    Raises:
        DeniedError: the actor is no admin, came by an API token, created the link, or is the person to be recovered.
        ConflictError: no link waits for approval.
    """
    operator = require_on(actor, Action.APPROVE_RECOVERY, Operator.objects.all(), operator)
    actor.require_person()
    with transaction.atomic():
        link = _live_links().select_for_update(of=("self",)).filter(operator=operator, needs_approval=True).first()
        if link is None or link.approved_by:
            msg = f"No recovery link of {operator.username} waits for approval. It may have expired: create a new one."
            raise ConflictError(msg)
        if actor.key in {link.created_by, operator.username}:
            msg = "A second admin has to approve this: neither the one who created the link nor the person it is for."
            raise DeniedError(msg)
        link.approved_by = actor.key
        link.save(update_fields=["approved_by"])
        ledger.record(actor=actor, action="operator.link-approved", thing=("operator", operator.username))
    return link


def open_link(*, word: str, address: str) -> LoginLink:
    """Use a link up and return it: its set-up goes on in the browser that opened it.

    Raises:
        LimitedError: too many wrong links came from this network.
        UnauthenticatedError: unknown, used, replaced, expired, or not approved yet.
    """
    attempt = throttle.count_attempt("link", address)
    with transaction.atomic():
        link = _live_links().select_for_update(of=("self",)).filter(secret_hash=_hash(word), used_at=None).first()
        if link is None:
            raise UnauthenticatedError(_DEAD)
        if link.waits_for_approval:
            msg = "A second admin has to approve this link first, on the console under People. Then open it again."
            raise UnauthenticatedError(msg)
        link.used_at = clock.now()
        link.save(update_fields=["used_at"])
        _note(link, "operator.link-used", {"purpose": link.purpose})
    throttle.forget_attempt(attempt)
    return link


def opened_link(pk: object) -> LoginLink:
    """Return a link that was opened and whose set-up is not finished.

    Args:
        pk: what the browser's session remembers.

    Raises:
        UnauthenticatedError: the link has expired or was replaced meanwhile.
    """
    link = _live_links().filter(pk=pk, used_at__isnull=False).first() if isinstance(pk, int) else None
    if link is None:
        raise UnauthenticatedError(_DEAD)
    return link


def choose_password(*, link: LoginLink, password: str) -> None:
    """Keep the new password until the second factor is proved too.

    Raises:
        InvalidError: it is too weak; the sentence says how.
    """
    try:
        validate_password(password, link.operator)
    except ValidationError as error:
        raise InvalidError(" ".join(error.messages)) from error
    link.new_password = make_password(password)
    link.save(update_fields=["new_password"])


def begin_second_factor(*, link: LoginLink) -> str:
    """Return the secret of the second factor that is to be confirmed, made at the first call."""
    if not link.new_totp_secret:
        link.new_totp_secret = seal_secret(totp.new_secret())
        link.save(update_fields=["new_totp_secret"])
    return open_secret(link.new_totp_secret)


def finish_set_up(*, link: LoginLink, code: str, address: str) -> Operator:
    """Put both new factors in force at once, end every link of the person, and return the person.

    Raises:
        InvalidError: the code is not the one of this moment, or no password was chosen.
        LimitedError: too many wrong codes came from this network.
        UnauthenticatedError: the link ended meanwhile.
    """
    attempt = throttle.count_attempt("set-up", address, link.operator.username)
    with transaction.atomic():
        live = _live_links().select_for_update(of=("self",)).filter(pk=link.pk, used_at__isnull=False).first()
        if live is None:
            raise UnauthenticatedError(_DEAD)
        if not live.new_password or not live.new_totp_secret:
            msg = "Choose a password first."
            raise InvalidError(msg)
        step = totp.matching_step(open_secret(live.new_totp_secret), code, clock.unix(), 0)
        if step is None:
            msg = "The code does not match. Check the clock of your phone and type the newest code."
            raise InvalidError(msg)
        operator = _replaced_factors(live, step)
        _note(live, "operator.factors-set", {"purpose": live.purpose, "approved_by": live.approved_by})
    throttle.forget_attempt(attempt)
    return operator


def void_recoveries(operator: Operator) -> None:
    """End the recovery links of a person whose roles have grown: nobody has approved them for these roles."""
    rows = LoginLink.objects.filter(operator=operator, voided_at=None, purpose=LoginLink.Purpose.RECOVERY)
    rows.update(voided_at=clock.now(), new_password="", new_totp_secret="")


def _replaced_factors(link: LoginLink, step: int) -> Operator:
    operator = link.operator
    operator.password, operator.totp_secret = link.new_password, link.new_totp_secret
    operator.totp_confirmed_at, operator.totp_last_step = clock.now(), step
    operator.save(update_fields=["password", "totp_secret", "totp_confirmed_at", "totp_last_step"])
    _void_links(operator)
    return operator


def _live_links() -> QuerySet[LoginLink]:
    rows = LoginLink.objects.select_related("operator__domain")
    return rows.filter(voided_at=None, expires_at__gt=clock.now(), operator__is_active=True)


def _void_links(operator: Operator) -> None:
    """End every link of a person; what was chosen through them is forgotten."""
    rows = LoginLink.objects.filter(operator=operator, voided_at=None)
    rows.update(voided_at=clock.now(), new_password="", new_totp_secret="")


def _needs_approval(actor: Actor, operator: Operator) -> bool:
    """Say whether a second admin has to approve a recovery.

    The server's own shell needs an approval too as long as another admin can give one; without one it is the last
    resort, since whoever has the shell has the database.

    Raises:
        ConflictError: an admin asks on the console, and no other admin could approve.
    """
    roles = set(operator.grants.values_list("role", flat=True))
    if not roles & SECURITY_ROLES:
        return False
    ready = Q(is_active=True, totp_confirmed_at__isnull=False, grants__role=Role.ADMIN)
    others = Operator.objects.filter(ready, domain=operator.domain).exclude(username__in=[operator.username, actor.key])
    if others.exists():
        return True
    if actor.kind is ActorKind.SYSTEM:
        return False
    msg = (
        f"{operator.username} holds a security role, so a second admin has to approve the recovery, and there is none."
        " Create another admin, or run `manage.py operator login-link` on the server."
    )
    raise ConflictError(msg)


def _note(link: LoginLink, action: str, detail: dict[str, str]) -> None:
    actor = actor_for(link.operator, "console")
    ledger.record(actor=actor, action=action, thing=("operator", link.operator.username), detail=detail)


def _hash(word: str) -> str:
    return hashlib.sha256(word.encode()).hexdigest()
