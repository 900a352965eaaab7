"""Create operators, grant roles, and sign people in by password and code."""

from django.db import transaction

from fleet.operators.identity import actor_for
from fleet.operators.models import Grant, Operator
from fleet.operators.services import links, throttle
from fleet.operators.services.factors import use_code
from pki.kernel.actor import Actor, Role
from pki.kernel.errors import ConflictError, InvalidError, NotFoundError, UnauthenticatedError
from pki.kernel.permissions import Action, require_action, require_on
from pki.selectors import domain as domain_of
from pki.services import ledger

_WRONG = "Name, password or code is wrong."


def create(*, actor: Actor, username: str, roles: list[str]) -> Operator:
    """Create an operator without a password; a one-time link opens the set-up."""
    require_action(actor, Action.CREATE_OPERATOR)
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
    """Give an operator a role; a recovery link from before a security role has to be created anew, with approval."""
    operator = require_on(actor, Action.GRANT_ROLE, Operator.objects.all(), operator)
    if role not in set(Role):
        msg = f"The roles are {', '.join(Role)}."
        raise InvalidError(msg)
    with transaction.atomic():
        _, made = Grant.objects.get_or_create(operator=operator, role=role)
        if made:
            thing = ("operator", operator.username)
            ledger.record(actor=actor, action="operator.role-granted", thing=thing, detail={"role": role})
            if role in links.SECURITY_ROLES:
                links.void_recoveries(operator)


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


def sign_in(*, username: str, password: str, code: str, address: str) -> Operator:
    """Return the operator whose password and code these are.

    Raises:
        LimitedError: too many failed from this network, for this name or in all; nothing was hashed.
        UnauthenticatedError: something is wrong; it does not say what.
    """
    attempt = throttle.count_attempt("sign-in", address, username)
    operator = Operator.objects.select_related("domain").filter(username=username, is_active=True).first()
    if operator is None:
        Operator().set_password(password)  # as slow as a real check, so that names cannot be told by time
        raise UnauthenticatedError(_WRONG)
    if not operator.check_password(password) or not use_code(operator, code):
        with transaction.atomic():
            _note(operator, "operator.sign-in-failed", {})
        raise UnauthenticatedError(_WRONG)
    throttle.forget_attempt(attempt)
    with transaction.atomic():
        _note(operator, "operator.signed-in", {"by": "password and code"})
    return operator


def _note(operator: Operator, action: str, detail: dict[str, str]) -> None:
    actor = actor_for(operator, "console")
    ledger.record(actor=actor, action=action, thing=("operator", operator.username), detail=detail)
