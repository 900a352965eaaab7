"""Every row of a set-up's databases, read without our models, so that both versions are told alike."""

import sqlite3
from contextlib import closing

#: tables that a new version writes anew by itself, and why that loses nothing
OWN = {
    "django_migrations": "the record of migrations grows",
    "django_content_type": "made by Django from the models",
    "auth_permission": "made by Django from the models; nothing refers to it",
    "sqlite_sequence": "SQLite's own",
    "jobs_lease": "leases of workers, taken anew every minute",
}


def rows_of_sqlite(folder):
    """Return (database, table) to {primary key: row as a dict} of a stopped SQLite set-up."""
    found = {}
    for path in sorted((folder / "db").glob("*.sqlite3")):
        with closing(sqlite3.connect(path)) as database:
            database.row_factory = sqlite3.Row
            names = "SELECT name FROM sqlite_master WHERE type = 'table'"
            for (table,) in database.execute(names).fetchall():
                columns = database.execute(f'PRAGMA table_info("{table}")').fetchall()
                keys = [column["name"] for column in columns if column["pk"]]
                rows = database.execute(f'SELECT * FROM "{table}"').fetchall()  # noqa: S608  because the name is the schema's own
                found[path.stem, table] = _by_key(map(dict, rows), keys)
    return found


def rows_of_postgresql(addresses):
    """Return the same of a PostgreSQL set-up.

    Args:
        addresses: name of the database, as SQLite's files are called, to its address.
    """
    import psycopg
    from psycopg.rows import dict_row

    keys_of = (
        "SELECT a.attname FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey)"
        " WHERE i.indrelid = %s::regclass AND i.indisprimary"
    )
    found = {}
    for name, address in addresses.items():
        with psycopg.connect(address, row_factory=dict_row) as database:
            tables = database.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
            for table in (row["tablename"] for row in tables):
                keys = [row["attname"] for row in database.execute(keys_of, (f'"{table}"',)).fetchall()]
                rows = database.execute(f'SELECT * FROM "{table}"').fetchall()  # noqa: S608  because the name is the schema's own
                found[name, table] = _by_key(rows, keys)
    return found


def lost_rows(before, after, moved):
    """Return a sentence for every row or value that is not there any more.

    Args:
        before: what ``rows_of_…`` returned for the old set-up.
        after: the same after the upgrade.
        moved: (table, column) to the reason why a migration changes it; (table, "") when the table goes.
    """
    lost = []
    for (database, table), rows in before.items():
        if table in OWN or (table, "") in moved:
            continue
        kept = after.get((database, table))
        if kept is None:
            lost.append(f"{database}.{table}: the table is gone with {len(rows)} rows")
            continue
        for key, row in rows.items():
            lost += [f"{database}.{table} {key}: {one}" for one in _differences(table, row, kept.get(key), moved)]
    return lost


def _differences(table, row, kept, moved):
    if kept is None:
        return ["the row is gone"]
    return [
        f"{column} was {value!r:.80}, is {kept.get(column)!r:.80}"
        for column, value in row.items()
        if (table, column) not in moved and kept.get(column, value) != value
    ] + [f"{column} is gone" for column in row if column not in kept and (table, column) not in moved]


def _by_key(rows, keys):
    return {tuple(row[key] for key in keys) if keys else tuple(row.values()): row for row in rows}
