"""``python -m tests.factories.tables at-once|step-by-step``: make both databases and print everything that lies in them."""

import json
import re
import sys

import django

_POSTGRESQL = (
    """
    SELECT concat_ws(' ', table_name, column_name, data_type, character_maximum_length, is_nullable, column_default,
                     is_identity)
    FROM information_schema.columns WHERE table_schema = 'public'
    """,
    "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'",
    """
    SELECT concat_ws(' ', conrelid::regclass, conname, pg_get_constraintdef(oid))
    FROM pg_constraint WHERE connamespace = 'public'::regnamespace
    """,
    "SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal",
    "SELECT pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace",
)


def main(way):
    """Make the tables of both databases in one of the two ways; print what is there, sorted."""
    django.setup()
    from django.core.management import call_command
    from django.core.management.commands.migrate import Command
    from django.db import connections

    found = {}
    for alias in ("telemetry", "default"):
        call_command("migrate" if way == "at-once" else Command(), database=alias, verbosity=0, interactive=False)
        with connections[alias].cursor() as cursor:
            found[alias] = sorted(_sqlite(cursor) if connections[alias].vendor == "sqlite" else _postgresql(cursor))
    json.dump(found, sys.stdout)


def _postgresql(cursor):
    for statement in _POSTGRESQL:
        cursor.execute(statement)
        yield from (text for (text,) in cursor.fetchall())


def _sqlite(cursor):
    """Yield each index and trigger as it stands, and each table line by line: columns may stand in another order."""
    cursor.execute("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'")
    for kind, name, text in cursor.fetchall():
        if kind != "table":
            yield text
            continue
        yield from (f"{name}: {part}" for part in _parts(text[text.index("(") + 1 : text.rindex(")")]))


def _parts(body):
    """Split what stands between the brackets of CREATE TABLE at its outermost commas."""
    depth, start = 0, 0
    for position, letter in enumerate(body):
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if letter == "," and depth == 0:
            yield re.sub(r"\s+", " ", body[start:position]).strip()
            start = position + 1
    yield re.sub(r"\s+", " ", body[start:]).strip()


if __name__ == "__main__":
    main(sys.argv[1])
