"""Rows without the query compiler, for the few paths where it would cost more than the database (decision 0006).

The same tables, fields, values and transactions as the ORM's; only the statement is built once instead of each time,
and on SQLite it goes to the driver without the layers between. Values always travel as parameters.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain
from typing import Any, TypeVar

from django.db import DEFAULT_DB_ALIAS, connections, models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper
from django.db.transaction import mark_for_rollback_on_error

from pki.models.driver import AnyField, Convert, from_driver, to_driver

#: of one statement: what SQLite takes unless it was built otherwise
MOST_PARAMETERS = 32_766
_INTO = "INSERT INTO "
#: fewer new rows are written by one statement: COPY takes one exchange with the server more
LEAST_COPIED = 20
Row = TypeVar("Row", bound=models.Model)


def get_row(model: type[Row], *, lock: bool = False, **wanted: object) -> Row | None:
    """Return the row whose columns have these values, or None.

    Args:
        model: of the default database.
        lock: keep others from it until the transaction ends (where the database can; SQLite locks as a whole).
        **wanted: field name (for a foreign key: ``name_id``) to value.
    """
    names = _names(model)
    row = row_values(model, names, lock=lock, **wanted)
    return None if row is None else model.from_db(DEFAULT_DB_ALIAS, names, row)


# untyped: each field that is named has its own type.
def row_values(
    model: type[models.Model], names: tuple[str, ...], *, lock: bool = False, **wanted: object
) -> list[Any] | None:
    """Return some fields of the row whose columns have these values, as a list, or None."""
    real = connections[DEFAULT_DB_ALIAS]
    statement, inward, outward = _select(model, names, tuple(wanted), real.vendor, lock=lock)
    values = _run(real, statement, _converted(wanted.values(), inward))
    return None if values is None else _converted(values, outward)


def insert_row(model: type[Row], **given: object) -> Row:
    """Write a new row and return it.

    Args:
        model: of the default database.
        **given: values by field name; a foreign key by its row, or by ``name_id``. The rest gets its default.
    """
    real = connections[DEFAULT_DB_ALIAS]
    statement, fields, inward = _insert(model, real.vendor)
    rows = {name: value for name, value in given.items() if isinstance(value, models.Model)}
    known = {name: value for name, value in given.items() if name not in rows}
    known |= {f"{name}_id": value.pk for name, value in rows.items()}
    values = [known.pop(name) if name in known else default() for name, default in fields]
    if known:
        msg = f"{model.__name__} has no field of these names: {', '.join(known)}."
        raise TypeError(msg)
    with mark_for_rollback_on_error(using=DEFAULT_DB_ALIAS):
        (key,) = _run(real, statement, _converted(values, inward)) or ()
    row = model.from_db(DEFAULT_DB_ALIAS, _names(model), [key, *values])
    row._state.fields_cache.update(rows)  # noqa: SLF001  because Django itself remembers the rows of foreign keys there
    return row


def update_row(instance: models.Model, *names: str) -> None:
    """Write some fields of a row that is there."""
    real = connections[DEFAULT_DB_ALIAS]
    statement, attributes, inward = _update(type(instance), names, real.vendor)
    values = [getattr(instance, name) for name in attributes]
    with mark_for_rollback_on_error(using=DEFAULT_DB_ALIAS):
        _run(real, statement, [*_converted(values, inward), instance.pk], fetch=False)


@dataclass(frozen=True, slots=True)
class PreparedInsert:
    """Rows as the driver takes them, and the statement around them: nothing is left to compute under a lock.

    Args:
        before: the statement before its rows, which it knows as ``column1``, ``column2``, ….
        rows: their values.
        after: the statement behind them.
        types: of these values, as PostgreSQL calls them.
    """

    before: str
    rows: list[list[object]]
    after: str = ""
    types: tuple[str, ...] = ()


def prepare_many(model: type[models.Model], names: tuple[str, ...], rows: Iterable[Sequence[object]]) -> PreparedInsert:
    """Return many new rows, to be written by ``write_many``.

    Args:
        model: of the default database.
        names: attributes (for a foreign key: ``name_id``); what is not named gets its default, anew for each row.
        rows: the values of these attributes.
    """
    statement, fields, inward = _insert(model, connections[DEFAULT_DB_ALIAS].vendor)
    if missing := set(names) - {name for name, _ in fields}:
        msg = f"{model.__name__} has no field of these names: {', '.join(missing)}."
        raise TypeError(msg)
    plan = [(names.index(name) if name in names else None, default) for name, default in fields]
    ready = [
        _converted([default() if column is None else row[column] for column, default in plan], inward) for row in rows
    ]
    return PreparedInsert(statement.partition("VALUES (%s")[0], ready, types=_types(model, _names(model)[1:]))


def write_many(prepared: PreparedInsert, *given: object) -> None:
    """Write prepared rows, by one statement for as many of them as a statement takes.

    One statement for each row would give other threads of the process (Python's lock) a turn after each row, while the
    database's write lock is held.

    Args:
        prepared: the rows, and the statement around them.
        given: parameters of the statement before the rows.
    """
    real = connections[DEFAULT_DB_ALIAS]
    run = _write_arrays if real.vendor == "postgresql" else _write_values
    with mark_for_rollback_on_error(using=DEFAULT_DB_ALIAS), real.cursor() as cursor:
        run(cursor, prepared, given)


def _write_values(cursor: CursorWrapper, prepared: PreparedInsert, given: tuple[object, ...]) -> None:
    """Give each value as a parameter of its own."""
    for start in range(0, len(prepared.rows), at_once := MOST_PARAMETERS // max(map(len, prepared.rows), default=1)):
        rows = prepared.rows[start : start + at_once]
        marks = "(" + ", ".join(["%s"] * len(rows[0])) + ")"
        statement = prepared.before + "VALUES " + ", ".join([marks] * len(rows)) + prepared.after
        parameters: list[Any] = [*given, *chain.from_iterable(rows)]  # untyped: each is what its driver takes
        cursor.execute(statement, parameters)


def _write_arrays(cursor: CursorWrapper, prepared: PreparedInsert, given: tuple[object, ...]) -> None:
    """Give each column as one array: to split a statement of ten thousand marks costs more than to run it."""
    alone = prepared.before.startswith(_INTO) and not prepared.after and not given
    if alone and len(prepared.rows) >= LEAST_COPIED:
        _copy_in(cursor, prepared)
    elif prepared.rows:
        arrays = ", ".join(f"%s::{kind}[]" for kind in prepared.types)
        names = ", ".join(f"column{number}" for number in range(1, len(prepared.types) + 1))
        source = f"SELECT * FROM unnest({arrays}) AS given_rows({names})"  # noqa: S608  because only types of our own models stand in it
        columns = [list(column) for column in zip(*prepared.rows, strict=True)]
        parameters: list[Any] = [*given, *columns]  # untyped: each is what its driver takes
        cursor.execute(prepared.before + source + prepared.after, parameters)


def _copy_in(cursor: CursorWrapper, prepared: PreparedInsert) -> None:
    """Add rows by COPY, which PostgreSQL reads faster than a statement."""
    statement = f"COPY {prepared.before.removeprefix(_INTO)} FROM STDIN"
    with connections[DEFAULT_DB_ALIAS].wrap_database_errors, cursor.copy(statement) as copy:
        for row in prepared.rows:
            copy.write_row(row)


def create_many(model: type[models.Model], names: tuple[str, ...], rows: Iterable[Sequence[object]]) -> None:
    """Write many new rows; the arguments are those of ``prepare_many``."""
    write_many(prepare_many(model, names, rows))


def update_many(model: type[models.Model], names: tuple[str, ...], rows: Iterable[Sequence[object]]) -> None:
    """Write some fields of many rows; a row is the new values, then the primary key.

    On PostgreSQL the caller has locked them in an order that all keep to.
    """
    before, after, inward = _update_many(model, names, connections[DEFAULT_DB_ALIAS].vendor)
    ready = [[*_converted(row[:-1], inward), row[-1]] for row in rows]
    write_many(PreparedInsert(before, ready, after, _types(model, (*names, model._meta.pk.attname))))


# untyped: each parameter is what its driver takes.
def _run(
    real: BaseDatabaseWrapper, statement: str, parameters: list[Any], *, fetch: bool = True
) -> Sequence[object] | None:
    """Run a statement and return its first row, if one is wanted."""
    if real.vendor != "sqlite" or real.queries_logged:
        with real.cursor() as cursor:
            cursor.execute(statement, parameters)
            return cursor.fetchone() if fetch else None
    real.ensure_connection()
    real.validate_no_broken_transaction()
    with real.wrap_database_errors:
        cursor = real.connection.execute(statement.replace("%s", "?"), parameters)
        return cursor.fetchone() if fetch else None


# untyped: values of the driver, or of fields, as the converters make them
def _converted(given: Iterable[object], converters: Sequence[Convert | None]) -> list[Any]:
    return [
        convert(value) if convert and value is not None else value
        for value, convert in zip(given, converters, strict=True)
    ]


@cache
def _names(model: type[models.Model]) -> tuple[str, ...]:
    """Return the attributes of a row in their order; the key is the first."""
    names = tuple(field.attname for field in model._meta.concrete_fields)
    if names[0] != model._meta.pk.attname:
        msg = f"The key of {model.__name__} is not its first field."
        raise TypeError(msg)
    return names


@cache
def _select(
    model: type[models.Model], names: tuple[str, ...], wanted: tuple[str, ...], vendor: str, *, lock: bool
) -> tuple[str, list[Convert | None], list[Convert | None]]:
    fields, asked = [_field(model, name) for name in names], [_field(model, name) for name in wanted]
    columns = ", ".join(_quote(field.column) for field in fields)
    conditions = " AND ".join(f"{_quote(field.column)} = %s" for field in asked)
    statement = f"SELECT {columns} FROM {_quote(model._meta.db_table)} WHERE {conditions}"  # noqa: S608  because it contains only names of our own models
    statement += " FOR UPDATE" if lock and vendor == "postgresql" else ""
    return statement, [to_driver(field, vendor) for field in asked], [from_driver(field, vendor) for field in fields]


@cache
def _insert(
    model: type[models.Model], vendor: str
) -> tuple[str, list[tuple[str, Callable[[], object]]], list[Convert | None]]:
    """Return the statement, each field's attribute with its default, and how its value goes to the driver."""
    fields = [_field(model, name) for name in _names(model)[1:]]
    columns, marks = ", ".join(_quote(field.column) for field in fields), ", ".join(["%s"] * len(fields))
    table, key = _quote(model._meta.db_table), _quote(model._meta.pk.column)
    statement = f"INSERT INTO {table} ({columns}) VALUES ({marks}) RETURNING {key}"  # noqa: S608  because it contains only names of our own models
    attributes = [(field.attname, field.get_default) for field in fields]
    return statement, attributes, [to_driver(field, vendor) for field in fields]


@cache
def _update(
    model: type[models.Model], names: tuple[str, ...], vendor: str
) -> tuple[str, list[str], list[Convert | None]]:
    fields = [_field(model, name) for name in names]
    settings = ", ".join(f"{_quote(field.column)} = %s" for field in fields)
    table, key = _quote(model._meta.db_table), _quote(model._meta.pk.column)
    statement = f"UPDATE {table} SET {settings} WHERE {key} = %s"  # noqa: S608  because it contains only names of our own models
    return statement, [field.attname for field in fields], [to_driver(field, vendor) for field in fields]


@cache
def _update_many(
    model: type[models.Model], names: tuple[str, ...], vendor: str
) -> tuple[str, str, list[Convert | None]]:
    """Return the statement before and after its rows of values, and how each value goes to the driver."""
    fields = [_field(model, name) for name in names]
    settings = ", ".join(f"{_quote(one.column)} = v.column{number}" for number, one in enumerate(fields, 1))
    table, key = _quote(model._meta.db_table), _quote(model._meta.pk.column)
    before = f"UPDATE {table} SET {settings} FROM ("  # noqa: S608  because it contains only names of our own models
    after = f") AS v WHERE {table}.{key} = v.column{len(fields) + 1}"
    return before, after, [to_driver(field, vendor) for field in fields]


@cache
def _types(model: type[models.Model], names: tuple[str, ...]) -> tuple[str, ...]:
    """Return what the database calls the types of fields; a text that is too long is refused by its column, not cut."""
    kinds = [str(_field(model, name).db_type(connections[DEFAULT_DB_ALIAS])) for name in names]
    return tuple("text" if kind.startswith("varchar") else kind for kind in kinds)


@cache
def _field(model: type[models.Model], name: str) -> AnyField:
    return next(field for field in model._meta.concrete_fields if name in {field.name, field.attname})


@cache
def _quote(name: str) -> str:
    return str(connections[DEFAULT_DB_ALIAS].ops.quote_name(name))
