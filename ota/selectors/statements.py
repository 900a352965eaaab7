"""Statements that officers are asked for, and the papers in them."""

import json
from typing import Any
from uuid import UUID

from django.db.models import QuerySet

from ota.models import Statement
from ota.selectors.finding import one
from ota.trust.prepared import Paper


def statements(slug: str) -> QuerySet[Statement]:
    """Return a domain's statements, newest first, with their release and signatures."""
    found = Statement.objects.filter(domain__slug=slug).select_related("release__bundle", "domain")
    return found.prefetch_related("signatures").defer("paper").order_by("-id")


def statement(slug: str, public_id: str | UUID) -> Statement:
    """Return one statement of a domain.

    Raises:
        NotFoundError: there is none of that id in this domain.
    """
    return one(statements(slug), public_id, "statement")


def paper(statement: Statement) -> Paper:
    """Return what a statement asks officers to sign."""
    return Paper.from_json(json.loads(bytes(statement.paper)))


def prepared(statement: Statement) -> dict[str, Any]:
    """Return what officers get: the documents, what holds now, the texts that they name, and the digest of it all."""
    value: Any = json.loads(bytes(statement.paper))
    return {"statement": str(statement.public_id), "kind": statement.kind, "digest": statement.digest, **value}
