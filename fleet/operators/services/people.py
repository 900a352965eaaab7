"""Make operators, give them roles, and let them in."""

import base64
import hashlib
import secrets
from datetime import timedelta

from cryptography.fernet import Fernet
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import transaction

from fleet.environment import secret
from fleet.operators import totp
from fleet.operators.identity import actor_for
from fleet.operators.models import Grant, LoginLink, Operator
from fleet.operators.services import throttle
from pki.kernel import clock
from pki.kernel.actor import Actor, Role
from pki.kernel.errors import ConflictError, InvalidError, NotFoundError, UnauthenticatedError
from pki.selectors import domain as domain_of
from pki.services import ledger

LINK_LIFE = timedelta(hours=24)
_WRONG = "Name, password or code is wrong."


def create(*, actor: Actor, username: str, roles: list[str]) -> Operator:
    """Make an operator without a password; a one-time link lets them set one."""
    actor.require(Role.ADMIN)
    if not username.isidentifier() or len(username) > 60:  # noqa: PLR2004  because the column has 60
        msg = "A user name holds letters, digits and underscores, at most 60."
        raise InvalidError(msg)
    with transaction.atomic():
        if Operator.objects.filter(username=username).exists():
            msg = f"There is an operator {username} already."
            raise ConflictError(msg)
        operator = Operator(domain=domain_of(actor.domain), username=username)
        operator.set_unusable_password()
        operator.save()
        ledger.record(actor=actor, action="operator.created", thing=("operator", username))
        for role in roles:
            grant(actor=actor, operator=operator, role=role)
    return operator


def grant(*, actor: Actor, operator: Operator, role: str) -> None:
    """Give an operator a role."""
    actor.require(Role.ADMIN)
    if role not in set(Role):
        msg = f"The roles are {', '.join(Role)}."
        raise InvalidError(msg)
    with transaction.atomic():
        _, made = Grant.objects.get_or_create(operator=operator, role=role)
        if made:
            thing = ("operator", operator.username)
            ledger.record(actor=actor, action="operator.role-granted", thing=thing, detail={"role": role})


def by_name(domain: str, username: str) -> Operator:
    """Return an operator of a domain.

    Raises:
        NotFoundError: there is none.
    """
    found = Operator.objects.filter(domain__slug=domain, username=username).first()
    if found is None:
        msg = "There is no such operator."
        raise NotFoundError(msg)
    return found


def login_link(*, actor: Actor, operator: Operator) -> str:
    """Return the path of a one-time sign-in address; it works once, within 24 hours."""
    actor.require(Role.ADMIN)
    word = secrets.token_urlsafe(32)
    with transaction.atomic():
        expires = clock.now() + LINK_LIFE
        LoginLink.objects.create(operator=operator, secret_hash=_hash(word), expires_at=expires)
        ledger.record(actor=actor, action="operator.link-made", thing=("operator", operator.username))
    return f"/sign-in/link/{word}"


def follow_link(*, word: str, address: str) -> Operator:
    """Use a one-time address up and return whom it lets in.

    Raises:
        UnauthenticatedError: unknown, used or expired.
    """
    throttle.take(f"link:{address}")
    with transaction.atomic():
        rows = LoginLink.objects.select_for_update(of=("self",)).select_related("operator__domain")
        link = rows.filter(secret_hash=_hash(word), used_at__isnull=True, expires_at__gt=clock.now()).first()
        if link is None or not link.operator.is_active:
            msg = "This link was used, has expired or never existed. Ask an admin for a new one."
            raise UnauthenticatedError(msg)
        link.used_at = clock.now()
        link.save(update_fields=["used_at"])
        _note(link.operator, "operator.signed-in", {"by": "link"})
    return link.operator


def sign_in(*, username: str, password: str, code: str, address: str) -> Operator:
    """Return the operator whose password and code these are.

    Raises:
        LimitedError: too many attempts for this name or from this address; nothing was hashed.
        UnauthenticatedError: something is wrong; it does not say what.
    """
    throttle.take(f"name:{username}")
    throttle.take(f"address:{address}")
    operator = Operator.objects.select_related("domain").filter(username=username, is_active=True).first()
    if operator is None:
        Operator().set_password(password)  # as slow as a real check, so that names cannot be told by time
        raise UnauthenticatedError(_WRONG)
    if not operator.check_password(password) or not _use_code(operator, code):
        with transaction.atomic():
            _note(operator, "operator.sign-in-failed", {})
        raise UnauthenticatedError(_WRONG)
    throttle.forget(f"name:{username}")
    with transaction.atomic():
        _note(operator, "operator.signed-in", {"by": "password and code"})
    return operator


def set_password(*, operator: Operator, password: str) -> None:
    """Set an operator's own password.

    Raises:
        InvalidError: it is too weak; the sentence says how.
    """
    try:
        validate_password(password, operator)
    except ValidationError as error:
        raise InvalidError(" ".join(error.messages)) from error
    with transaction.atomic():
        operator.set_password(password)
        operator.save(update_fields=["password"])
        _note(operator, "operator.password-set", {})


def begin_totp(*, operator: Operator) -> str:
    """Return the secret of the second factor to be confirmed, made when there is none yet."""
    if not operator.totp_secret:
        operator.totp_secret = _box().encrypt(totp.new_secret().encode()).decode()
        operator.save(update_fields=["totp_secret"])
    return _secret(operator)


def confirm_totp(*, operator: Operator, code: str) -> None:
    """Switch the second factor on.

    Raises:
        InvalidError: the code is not the one of this moment.
    """
    throttle.take(f"totp:{operator.pk}")
    if not _use_code(operator, code):
        msg = "That code is not right. Check the clock of the phone and type the newest code."
        raise InvalidError(msg)
    with transaction.atomic():
        operator.totp_confirmed_at = clock.now()
        operator.save(update_fields=["totp_confirmed_at"])
        _note(operator, "operator.second-factor-set", {})


def _use_code(operator: Operator, code: str) -> bool:
    if not operator.totp_secret:
        return False
    step = totp.matching_step(_secret(operator), code, clock.unix(), operator.totp_last_step)
    if step is None:
        return False
    # The condition makes a code work once, even when it comes twice at the same moment.
    used = Operator.objects.filter(pk=operator.pk, totp_last_step__lt=step).update(totp_last_step=step)
    return used == 1


def _secret(operator: Operator) -> str:
    return _box().decrypt(operator.totp_secret.encode()).decode()


def _box() -> Fernet:
    """Return the box that second-factor secrets lie in: its key is not in the database."""
    return Fernet(base64.urlsafe_b64encode(hashlib.sha256(secret("totp.key").encode()).digest()))


def _note(operator: Operator, action: str, detail: dict[str, str]) -> None:
    actor = actor_for(operator, "console")
    ledger.record(actor=actor, action=action, thing=("operator", operator.username), detail=detail)


def _hash(word: str) -> str:
    return hashlib.sha256(word.encode()).hexdigest()
