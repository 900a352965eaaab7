"""Find one row of a set: by its public id, by its name, or by either."""

from collections.abc import Iterable
from typing import TypeVar
from uuid import UUID

from django.db.models import Model, QuerySet

from pki.kernel import intake
from pki.kernel.errors import InvalidError, NotFoundError
from pki.models import TrustDomain

_Row = TypeVar("_Row", bound=Model)


def one_by_id(rows: QuerySet[_Row], public_id: str | UUID, kind: str) -> _Row:
    """Return the row of a public id.

    Args:
        rows: that the actor may see.
        public_id: of one of them.
        kind: how people call such a thing.

    Raises:
        InvalidError: it is no UUID.
        NotFoundError: there is none among these rows.
    """
    try:
        key = public_id if isinstance(public_id, UUID) else UUID(public_id)
    except ValueError as error:
        msg = "This is not a UUID."
        raise InvalidError(msg) from error
    return one_row(rows.filter(public_id=key), kind)


def one_row(rows: QuerySet[_Row], kind: str) -> _Row:
    """Return the only row of a set.

    Raises:
        NotFoundError: the set is empty.
    """
    row = rows.first()
    if row is None:
        msg = f"There is no such {kind}."
        raise NotFoundError(msg)
    return row


def named_rows(rows: QuerySet[_Row], public_ids: Iterable[str | UUID]) -> QuerySet[_Row]:
    """Return the rows with these public ids; what is none is left out."""
    keys = [
        key
        for public_id in public_ids
        if (key := public_id if isinstance(public_id, UUID) else _uuid_or_none(public_id))
    ]
    # By way of the primary key: SQLite would pass over every row of the domain as soon as there are two ids.
    known: QuerySet[_Row] = QuerySet(rows.model).filter(public_id__in=keys)
    return rows.filter(pk__in=known.values("pk")) if keys else rows.none()


def one_referred(rows: QuerySet[_Row], word: str, kind: str, name: str = "name") -> _Row:
    """Return the row that a filter means by a name or a public id; a public id comes first.

    Raises:
        InvalidError: there is no such row, so that the filter can mean nothing.
    """
    key = _uuid_or_none(word)
    row = (rows.filter(public_id=key).first() if key else None) or rows.filter(**{name: word}).first()
    if row is None:
        msg = f"There is no {kind} {intake.shown_name(word[:100])!r}. Give its name or its public id."
        raise InvalidError(msg)
    return row


def _uuid_or_none(word: str) -> UUID | None:
    try:
        return UUID(word)
    except ValueError:
        return None


def rows_of_domain(rows: QuerySet[_Row], slug: str) -> QuerySet[_Row]:
    """Return the rows of the domain with a slug, which is looked up first.

    Where the domain is only joined, PostgreSQL does not see that an index of domain and name has the rows of a page in
    their order: it reads and sorts all rows of the domain.
    """
    return rows.filter(domain=TrustDomain.objects.filter(slug=slug).order_by().values("pk")[:1])
