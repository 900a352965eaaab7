"""One-time links for account set-up and recovery, which require password and second factor to be set.

A link alone does not sign anybody in. A person has one valid link. It ends after one hour, when a newer link is
created, or when the set-up is complete. A recovery link for a person with a security role requires the approval of a
second admin.
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
#: roles that can change what the fleet trusts, or who has such a role
SECURITY_ROLES = frozenset({Role.ADMIN, Role.SECURITY_OFFICER, Role.RELEASE_OFFICER})
_DEAD = "The link is invalid: it was used or replaced before, or has expired. Ask an admin for a new link."


def create_link(*, actor: Actor, operator: Operator) -> tuple[LoginLink, str]:
    """Create a link for an operator, void older ones, and return it with its path, which is shown once.

    Raises:
        DeniedError: the actor is not an admin, or uses an API token.
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
    """Approve the valid recovery link of an operator as the second admin.

    Raises:
        DeniedError: the actor is not an admin, uses an API token, created the link, or is the person to recover.
        ConflictError: no link is pending approval.
    """
    operator = require_on(actor, Action.APPROVE_RECOVERY, Operator.objects.all(), operator)
    actor.require_person()
    with transaction.atomic():
        link = _live_links().select_for_update(of=("self",)).filter(operator=operator, needs_approval=True).first()
        if link is None or link.approved_by:
            msg = f"No recovery link of {operator.username} is pending approval. If the link expired, create a new one."
            raise ConflictError(msg)
        if actor.key in {link.created_by, operator.username}:
            msg = (
                "You cannot approve this recovery: you created the link or it is yours. Another admin must approve it."
            )
            raise DeniedError(msg)
        link.approved_by = actor.key
        link.save(update_fields=["approved_by"])
        ledger.record(actor=actor, action="operator.link-approved", thing=("operator", operator.username))
    return link


def open_link(*, word: str, address: str) -> LoginLink:
    """Mark a link as used and return it; the browser that opened it continues the set-up.

    Raises:
        LimitedError: this network tried too many invalid links.
        UnauthenticatedError: the link is unknown, used, replaced, expired, or not approved yet.
    """
    attempt = throttle.count_attempt("link", address)
    with transaction.atomic():
        link = _live_links().select_for_update(of=("self",)).filter(secret_hash=_hash(word), used_at=None).first()
        if link is None:
            raise UnauthenticatedError(_DEAD)
        if link.waits_for_approval:
            msg = "A second admin must approve this link in the console under People. Open the link again after that."
            raise UnauthenticatedError(msg)
        link.used_at = clock.now()
        link.save(update_fields=["used_at"])
        _note(link, "operator.link-used", {"purpose": link.purpose})
    throttle.forget_attempt(attempt)
    return link


def opened_link(pk: object) -> LoginLink:
    """Return an opened link whose set-up is not complete.

    Args:
        pk: primary key of the link from the browser session.

    Raises:
        UnauthenticatedError: the link has expired or was replaced.
    """
    link = _live_links().filter(pk=pk, used_at__isnull=False).first() if isinstance(pk, int) else None
    if link is None:
        raise UnauthenticatedError(_DEAD)
    return link


def choose_password(*, link: LoginLink, password: str) -> None:
    """Store the new password in the link until the second factor is verified.

    Raises:
        InvalidError: the password is too weak; the message lists the reasons.
    """
    try:
        validate_password(password, link.operator)
    except ValidationError as error:
        raise InvalidError(" ".join(error.messages)) from error
    link.new_password = make_password(password)
    link.save(update_fields=["new_password"])


def begin_second_factor(*, link: LoginLink) -> str:
    """Return the secret of the new second factor; create it at the first call."""
    if not link.new_totp_secret:
        link.new_totp_secret = seal_secret(totp.new_secret())
        link.save(update_fields=["new_totp_secret"])
    return open_secret(link.new_totp_secret)


def finish_set_up(*, link: LoginLink, code: str, address: str) -> Operator:
    """Activate both new factors in one transaction, void every link of the person, and return the person.

    Raises:
        InvalidError: the code is not valid now, or no password was set.
        LimitedError: this network sent too many wrong codes.
        UnauthenticatedError: the link is no longer valid.
    """
    attempt = throttle.count_attempt("set-up", address, link.operator.username)
    with transaction.atomic():
        live = _live_links().select_for_update(of=("self",)).filter(pk=link.pk, used_at__isnull=False).first()
        if live is None:
            raise UnauthenticatedError(_DEAD)
        if not live.new_password or not live.new_totp_secret:
            msg = "Set a password before the second factor."
            raise InvalidError(msg)
        step = totp.matching_step(open_secret(live.new_totp_secret), code, clock.unix(), 0)
        if step is None:
            msg = "The code is not valid. Check the clock of your phone, then enter the current code."
            raise InvalidError(msg)
        operator = _replaced_factors(live, step)
        _note(live, "operator.factors-set", {"purpose": live.purpose, "approved_by": live.approved_by})
    throttle.forget_attempt(attempt)
    return operator


def void_recoveries(operator: Operator) -> None:
    """Void the recovery links of a person who received a new role: nobody approved them for that role."""
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
    """Void every link of a person and erase the factors stored in them."""
    rows = LoginLink.objects.filter(operator=operator, voided_at=None)
    rows.update(voided_at=clock.now(), new_password="", new_totp_secret="")


def _needs_approval(actor: Actor, operator: Operator) -> bool:
    """Return whether a second admin must approve a recovery.

    A link from ``manage.py`` on the server also requires approval while another admin exists. Without another admin it
    is the last resort: shell access to the server includes access to the database.

    Raises:
        ConflictError: an admin creates the link in the console, and no other admin exists to approve it.
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
        f"{operator.username} has a security role, so a second admin must approve the recovery, but there is none."
        " Create another admin, or run `manage.py operator login-link` on the server."
    )
    raise ConflictError(msg)


def _note(link: LoginLink, action: str, detail: dict[str, str]) -> None:
    actor = actor_for(link.operator, "console")
    ledger.record(actor=actor, action=action, thing=("operator", link.operator.username), detail=detail)


def _hash(word: str) -> str:
    return hashlib.sha256(word.encode()).hexdigest()
