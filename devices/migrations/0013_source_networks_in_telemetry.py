"""Move the networks that devices were heard from into the telemetry database, where their model says they belong.

The migration runs once in each database, in any order. ``manage.py upgrade`` migrates the telemetry database first: the
table is made there, then the main database copies its rows and drops its own table. A run that was interrupted is
repeated and loses nothing. Where the telemetry database has no table yet, the observations of some days are given up.
"""

from itertools import islice

from django.db import connections, migrations

#: rows copied by one statement
BATCH = 500
FIELDS = ("device_id", "prefix", "first_seen", "last_tick")


def _has_table(alias, model):
    connection = connections[alias]
    with connection.cursor() as cursor:
        return model._meta.db_table in connection.introspection.table_names(cursor)


def make(apps, schema_editor):
    """Make the table in the telemetry database, unless a new set-up has it from the start."""
    model = apps.get_model("devices", "SourceNetwork")
    if not _has_table(schema_editor.connection.alias, model):
        schema_editor.create_model(model)


def move(apps, schema_editor):
    """Copy the main database's rows into the telemetry database, then drop the main one's table."""
    model, alias = apps.get_model("devices", "SourceNetwork"), schema_editor.connection.alias
    if not _has_table(alias, model):
        return
    if _has_table("telemetry", model):
        rows = model.objects.using(alias).order_by("id").values(*FIELDS).iterator(chunk_size=BATCH)
        while batch := [model(**row) for row in islice(rows, BATCH)]:
            model.objects.using("telemetry").bulk_create(batch, ignore_conflicts=True)
    schema_editor.delete_model(model)


class Migration(migrations.Migration):
    dependencies = [("devices", "0012_source_networks")]

    operations = [
        migrations.RunPython(
            make, migrations.RunPython.noop, hints={"model_name": "sourcenetwork"}, elidable=False
        ),
        migrations.RunPython(move, migrations.RunPython.noop, elidable=False),
    ]
