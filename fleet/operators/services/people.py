"""Create operators, grant roles, and sign people in with password and code."""

from django.db import transaction

from fleet.operators.identity import actor_for
from fleet.operators.models import Grant, Operator
from fleet.operators.services import links, throttle
from fleet.operators.services.factors import use_code
from pki.kernel.actor import Actor, Role
from pki.kernel.errors import ConflictError, InvalidError, NotFoundError, UnauthenticatedError
from pki.kernel.permissions import Action, require_action, require_on
from pki.selectors import get_domain as domain_of
from pki.services import ledger

_WRONG = "Incorrect username, password or code. Check all three and try again."


def create(*, actor: Actor, username: str, roles: list[str]) -> Operator:
    """Create an operator without a password; a one-time link starts the set-up."""
    require_action(actor, Action.CREATE_OPERATOR)
    if not username.isidentifier() or len(username) > 60:  # noqa: PLR2004  because the database column has 60
        msg = "A user name must have 1 to 60 characters: letters, digits and underscores, with no digit first."
        raise InvalidError(msg)
    with transaction.atomic():
        if Operator.objects.filter(username=username).exists():
            msg = f"Operator {username} already exists. Choose another user name."
            raise ConflictError(msg)
        operator = Operator(domain=domain_of(actor.domain), username=username)
        operator.set_unusable_password()
        operator.save()
        ledger.record(actor=actor, action="operator.created", thing=("operator", username))
        for role in roles:
            grant_role(actor=actor, operator=operator, role=role)
    return operator


def grant_role(*, actor: Actor, operator: Operator, role: str) -> None:
    """Grant a role to an operator; a security role voids existing recovery links, which need approval from then on."""
    operator = require_on(actor, Action.GRANT_ROLE, Operator.objects.all(), operator)
    if role not in set(Role):
        msg = f"Unknown role. Use one of: {', '.join(Role)}."
        raise InvalidError(msg)
    with transaction.atomic():
        _, created = Grant.objects.get_or_create(operator=operator, role=role)
        if created:
            thing = ("operator", operator.username)
            ledger.record(actor=actor, action="operator.role-granted", thing=thing, detail={"role": role})
            if role in links.SECURITY_ROLES:
                links.void_recoveries(operator)


def operator_by_name(domain: str, username: str) -> Operator:
    """Return an operator of a domain.

    Raises:
        NotFoundError: the domain has no such operator.
    """
    operator = Operator.objects.filter(domain__slug=domain, username=username).first()
    if operator is None:
        msg = "This trust domain has no operator with this user name. Check the user name."
        raise NotFoundError(msg)
    return operator


def sign_in(*, username: str, password: str, code: str, address: str) -> Operator:
    """Verify username, password and code, and return the operator.

    Raises:
        LimitedError: too many failed attempts from this network, for this name or in total; nothing was hashed.
        UnauthenticatedError: one of the three is wrong; the message does not reveal which.
    """
    attempt = throttle.count_attempt("sign-in", address, username)
    operator = Operator.objects.select_related("domain").filter(username=username, is_active=True).first()
    if operator is None:
        Operator().set_password(password)  # as slow as a real check, so that response times do not reveal names
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
