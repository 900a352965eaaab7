"""JSON columns: refuse values that a database or UTF-8 cannot hold; read older rows with such values safely."""

from collections.abc import Sequence

from django.db import DataError, models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.expressions import BaseExpression, Expression

from pki.kernel import intake

#: what the databases and their drivers raise for a value that no column takes: a NUL or half a character in a text, a
#: number out of range. Servers check before; this is the net below, so that such a value
#: is the client's fault, never ours
UNSTORABLE = (DataError, UnicodeEncodeError, OverflowError)


class DocumentField(models.JSONField):
    """A JSON column that both databases and every client can take: the last check behind those of the servers."""

    def get_db_prep_save(self, value: object, connection: BaseDatabaseWrapper) -> object:
        """Return what is written.

        Raises:
            InvalidError: a text, a number or the depth of the document cannot be stored; it names the place.
        """
        if not isinstance(value, BaseExpression):
            intake.check_document(value, name=self.name)
        return super().get_db_prep_save(value, connection)

    def from_db_value(self, value: str | None, expression: Expression, connection: BaseDatabaseWrapper) -> object:
        """Return what was read; texts that were stored before they were checked come with replacement characters."""
        document = super().from_db_value(value, expression, connection)
        return intake.storable_document(document) if isinstance(value, str) and "\\u" in value else document

    def deconstruct(self) -> tuple[str, str, Sequence[object], dict[str, object]]:
        """Return the field as migrations know it: to a database it is a plain JSON column."""
        name, _, args, kwargs = super().deconstruct()
        return name, "django.db.models.JSONField", args, kwargs
