"""Conversion of field values to the database driver and back, resolved once per field instead of once per value."""

import json
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeAlias

from django.db import DEFAULT_DB_ALIAS, connections, models
from django.db.models.expressions import Col

from pki.kernel import intake
from pki.models.documents import DocumentField

# untyped: each takes the values of its own kind of field.
Convert: TypeAlias = Callable[[Any], Any]
# Written as a string: Django's own classes take no parameters at run time.
AnyField: TypeAlias = "models.Field[object, object]"
#: fields whose Python values are the driver's own
PLAIN = frozenset(
    {
        models.CharField,
        models.TextField,
        models.SlugField,
        models.ForeignKey,
        models.OneToOneField,
        models.BigAutoField,
        models.IntegerField,
        models.BigIntegerField,
        models.SmallIntegerField,
        models.PositiveIntegerField,
        models.BinaryField,
    }
)


def to_driver(field: AnyField, vendor: str) -> Convert | None:
    """Return what turns a value of a field into the driver's; None where it is that already. Never called with None."""
    if type(field) in PLAIN or (vendor == "postgresql" and type(field) in {models.DateTimeField, models.UUIDField}):
        return None
    if vendor == "sqlite" and type(field) in _TO_SQLITE:
        return _TO_SQLITE[type(field)]
    return lambda value: field.get_db_prep_save(value, connections[DEFAULT_DB_ALIAS])


def from_driver(field: AnyField, vendor: str) -> Convert | None:
    """Return what turns a driver's value into a field's; None where it is that already. Never called with None."""
    if type(field) in PLAIN:
        return None
    if vendor == "sqlite" and type(field) in _FROM_SQLITE:
        return _FROM_SQLITE[type(field)]
    real = connections[DEFAULT_DB_ALIAS]
    column = Col(field.model._meta.db_table, field)
    parts = [*real.ops.get_db_converters(column), *field.get_db_converters(real)]
    return (lambda value: _through(value, parts, column)) if parts else None


def _through(value: object, parts: list[Callable[..., object]], column: Col) -> object:
    for part in parts:
        value = part(value, column, connections[DEFAULT_DB_ALIAS])
    return value


def _text_of_time(value: datetime) -> str:
    return str((value if value.tzinfo is UTC else value.astimezone(UTC)).replace(tzinfo=None))


def _text_of_document(value: object) -> str:
    intake.check_document(value)
    return json.dumps(value)


def _document_of_text(text: str) -> object:
    document = json.loads(text)
    return intake.storable_document(document) if "\\u" in text else document


# What Django's own SQLite backend writes and reads, value for value (a test compares them).
_TO_SQLITE: dict[type, Convert] = {
    models.DateTimeField: _text_of_time,
    models.UUIDField: lambda value: (value if isinstance(value, uuid.UUID) else uuid.UUID(value)).hex,
    DocumentField: _text_of_document,
    models.BooleanField: bool,
}
_FROM_SQLITE: dict[type, Convert] = {
    models.DateTimeField: lambda value: value.replace(tzinfo=UTC),  # the connection parses them already
    models.UUIDField: uuid.UUID,
    DocumentField: _document_of_text,
    models.BooleanField: bool,
}
