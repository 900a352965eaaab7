"""Statements that officers are asked to sign, and the signing requests in them."""

import json
from dataclasses import asdict, dataclass
from uuid import UUID

from django.db.models import QuerySet

from ota.models import Statement
from ota.trust.prepared import PreparedRequest
from pki.kernel import intake
from pki.kernel.actor import Actor
from pki.kernel.filters import choice_field
from pki.kernel.permissions import Action, permitted_rows
from pki.selectors.finding import one_by_id


@dataclass(frozen=True, slots=True)
class StatementFilter:
    """The filter of the statement list."""

    state: str = choice_field("The state of the statement.", Statement.State.values, "Statement.state")
    kind: str = choice_field("The subject of the statement.", Statement.Kind.values, "Statement.kind")


def list_statements(*, actor: Actor, wanted: StatementFilter = StatementFilter()) -> QuerySet[Statement]:
    """Return the statements that match, newest first, with their release and signatures."""
    asked = {name: value for name, value in asdict(wanted).items() if value}
    statements = (
        permitted_rows(actor, Action.READ, Statement.objects.all())
        .filter(**asked)
        .select_related("release__bundle", "domain")
    )
    return statements.prefetch_related("signatures").defer("paper").order_by("-id")


def get_statement(*, actor: Actor, public_id: str | UUID) -> Statement:
    """Return one statement of a domain.

    Raises:
        NotFoundError: there is none of that id in this domain.
    """
    return one_by_id(list_statements(actor=actor), public_id, "statement")


def request_of(statement: Statement) -> PreparedRequest:
    """Return the signing request of a statement."""
    return PreparedRequest.from_json(json.loads(bytes(statement.paper)))


def prepared_documents(statement: Statement) -> dict[str, object]:
    """Return the signing request for officers: new documents, current documents, named texts, and a digest of all."""
    value = intake.map_of(json.loads(bytes(statement.paper)), "paper")
    return {"statement": str(statement.public_id), "kind": statement.kind, "digest": statement.digest, **value}
