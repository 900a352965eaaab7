"""Rows without the query compiler, for the few paths where it would cost more than the database (decision 0006).

The same tables, fields, conversions and transactions as the ORM's; only the statement is built once instead of each
time. Values always travel as parameters.
"""

from functools import cache
from typing import Any, TypeAlias, TypeVar

from django.db import DEFAULT_DB_ALIAS, connection, connections, models
from django.db.models.expressions import Col

#: fields whose Python values are the driver's own
PLAIN = frozenset(
    {
        models.CharField,
        models.SlugField,
        models.ForeignKey,
        models.OneToOneField,
        models.IntegerField,
        models.BigIntegerField,
        models.SmallIntegerField,
        models.BooleanField,
    }
)
Row = TypeVar("Row", bound=models.Model)
# Written as a string: Django's own classes take no parameters at run time.
AnyField: TypeAlias = "models.Field[Any, Any]"


def get(model: type[Row], *, lock: bool = False, **wanted: object) -> Row | None:
    """Return the row whose columns have these values, or None.

    Args:
        model: of the default database.
        lock: keep others from it until the transaction ends (where the database can; SQLite locks as a whole).
        **wanted: field name (for a foreign key: ``name_id``) to value.
    """
    names = tuple(field.attname for field in model._meta.concrete_fields)
    found = values(model, names, lock=lock, **wanted)
    return None if found is None else model.from_db(DEFAULT_DB_ALIAS, names, found)


def values(model: type[models.Model], names: tuple[str, ...], *, lock: bool = False, **wanted: object) -> Any:
    """Return some fields of the row whose columns have these values, as a list, or None."""
    real = connections[DEFAULT_DB_ALIAS]
    statement, converters = _select(model, names, tuple(wanted), real.vendor, lock=lock)
    with real.cursor() as cursor:
        cursor.execute(statement, [_prepared(model, name, value) for name, value in wanted.items()])
        found = cursor.fetchone()
    if found is None:
        return None
    return [_converted(value, one) if one else value for value, one in zip(found, converters, strict=True)]


def insert(instance: models.Model) -> None:
    """Write a new row and give the instance its key."""
    model = type(instance)
    real = connections[DEFAULT_DB_ALIAS]
    statement, fields = _insert(model, real.vendor)
    values = [
        getattr(instance, field.attname) if plain else field.get_db_prep_save(field.pre_save(instance, add=True), real)
        for field, plain in fields
    ]
    with real.cursor() as cursor:
        cursor.execute(statement, values)
        instance.pk = cursor.fetchone()[0]
    state = instance._state  # noqa: SLF001  because Django's own save marks a row the same way
    state.adding, state.db = False, connection.alias


def update(instance: models.Model, *names: str) -> None:
    """Write some fields of a row that is there."""
    model = type(instance)
    statement, fields = _update(model, names, connection.vendor)
    values = [field.get_db_prep_save(getattr(instance, field.attname), connection) for field in fields]
    with connection.cursor() as cursor:
        cursor.execute(statement, [*values, instance.pk])


@cache
def _select(
    model: type[models.Model], names: tuple[str, ...], wanted: tuple[str, ...], vendor: str, *, lock: bool
) -> tuple[str, list[Any]]:
    table, fields = model._meta.db_table, [_field(model, name) for name in names]
    columns = ", ".join(_quote(field.column) for field in fields)
    conditions = " AND ".join(f"{_quote(_field(model, name).column)} = %s" for name in wanted)
    statement = f"SELECT {columns} FROM {_quote(table)} WHERE {conditions}"  # noqa: S608  because only names of our own models stand in it
    converters = []
    for field in fields:
        column = Col(table, field)
        parts = [*connection.ops.get_db_converters(column), *field.get_db_converters(connection)]
        converters.append([(part, column) for part in parts])
    return statement + (" FOR UPDATE" if lock and vendor == "postgresql" else ""), converters


@cache
def _insert(model: type[models.Model], _vendor: str) -> tuple[str, list[tuple[AnyField, bool]]]:
    """Return the statement, and each field with whether its value goes to the driver as it is."""
    fields = [field for field in model._meta.concrete_fields if not field.primary_key]
    quote = _quote
    columns, marks = ", ".join(quote(field.column) for field in fields), ", ".join(["%s"] * len(fields))
    key = quote(model._meta.pk.column)
    table = quote(model._meta.db_table)
    statement = f"INSERT INTO {table} ({columns}) VALUES ({marks}) RETURNING {key}"  # noqa: S608  because only names of our own models stand in it
    return statement, [(field, type(field) in PLAIN) for field in fields]


@cache
def _update(model: type[models.Model], names: tuple[str, ...], _vendor: str) -> tuple[str, list[AnyField]]:
    fields, quote = [_field(model, name) for name in names], _quote
    settings = ", ".join(f"{quote(field.column)} = %s" for field in fields)
    key, table = quote(model._meta.pk.column), quote(model._meta.db_table)
    return f"UPDATE {table} SET {settings} WHERE {key} = %s", fields  # noqa: S608  because only names of our own models stand in it


@cache
def _field(model: type[models.Model], name: str) -> AnyField:
    return next(field for field in model._meta.concrete_fields if name in {field.name, field.attname})


def _quote(name: str | None) -> str:
    return str(connection.ops.quote_name(str(name)))


def _prepared(model: type[models.Model], name: str, value: object) -> Any:
    return _field(model, name).get_db_prep_value(value, connection)


def _converted(value: Any, converters: list[tuple[Any, Col]]) -> Any:
    for convert, column in converters:
        value = convert(value, column, connection)
    return value
