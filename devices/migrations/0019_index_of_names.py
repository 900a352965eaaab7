"""An index of the trigrams of devices' names: a part of a name is found without a look at all names.

No model can say it: on SQLite it is a table of FTS5 that triggers keep, on PostgreSQL a GIN index of an expression.
"""

from django.db import migrations

TABLE = "devices_device_names"
ADD = f"INSERT INTO {TABLE} (rowid, name) VALUES (NEW.id, NEW.name);"
TAKE = f"INSERT INTO {TABLE} ({TABLE}, rowid, name) VALUES ('delete', OLD.id, OLD.name);"
#: what happens to a device: the head of the trigger, and what it does
SQLITE_ACTS = {
    "insert": ("AFTER INSERT ON devices_device", ADD),
    "update": ("AFTER UPDATE OF id, name ON devices_device WHEN OLD.name IS NOT NEW.name OR OLD.id IS NOT NEW.id",
               TAKE + ADD),
    "delete": ("AFTER DELETE ON devices_device", TAKE),
}  # fmt: skip
#: not an extension, which a database's owner may lack: an index of lists, and a function that cuts a name into them
POSTGRESQL = f"""
    CREATE FUNCTION devices_trigrams(name text) RETURNS text[] LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
        SELECT array_agg(DISTINCT substr(upper(name), place, 3)) FROM generate_series(1, length(name) - 2) AS place
    $$;
    CREATE INDEX {TABLE} ON devices_device USING gin (devices_trigrams(name));
"""


def make(apps, schema_editor):
    """Make the index and fill it with the names that are there."""
    if schema_editor.connection.vendor == "sqlite":
        schema_editor.execute(
            f"CREATE VIRTUAL TABLE {TABLE} USING fts5"
            "(name, content='devices_device', content_rowid='id', tokenize='trigram')",
            None,
        )
        schema_editor.execute(f"INSERT INTO {TABLE} ({TABLE}) VALUES ('rebuild')", None)
        for act, (when, body) in SQLITE_ACTS.items():
            schema_editor.execute(f"CREATE TRIGGER {TABLE}_{act} {when} BEGIN {body} END", None)
        return
    schema_editor.execute(POSTGRESQL, None)


def remove(apps, schema_editor):
    """Remove the index."""
    if schema_editor.connection.vendor == "sqlite":
        for act in SQLITE_ACTS:
            schema_editor.execute(f"DROP TRIGGER {TABLE}_{act}", None)
        schema_editor.execute(f"DROP TABLE {TABLE}", None)
        return
    schema_editor.execute(f"DROP INDEX {TABLE}; DROP FUNCTION devices_trigrams(text)", None)


class Migration(migrations.Migration):

    dependencies = [
        ('devices', '0018_index_of_observations'),
    ]

    operations = [migrations.RunPython(make, remove, elidable=False)]
