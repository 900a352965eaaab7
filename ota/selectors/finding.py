"""Find one row by its public id."""

from typing import TypeVar
from uuid import UUID

from django.db.models import Model, QuerySet

from pki.kernel.errors import InvalidError, NotFoundError

_Row = TypeVar("_Row", bound=Model)


def one(rows: QuerySet[_Row], public_id: str | UUID, kind: str) -> _Row:
    """Return the row of that public id.

    Raises:
        InvalidError: no UUID.
        NotFoundError: there is none among these rows.
    """
    try:
        key = public_id if isinstance(public_id, UUID) else UUID(public_id)
    except ValueError as error:
        msg = "This is not a UUID."
        raise InvalidError(msg) from error
    found = rows.filter(public_id=key).first()
    if found is None:
        msg = f"There is no such {kind}."
        raise NotFoundError(msg)
    return found
