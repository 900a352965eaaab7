"""Move the networks that devices were heard from into the telemetry database; indexes for lists and for periodic jobs.

Moving runs once in each database, in any order. ``manage.py upgrade`` migrates the telemetry database first: the
table is made there, then the main database copies its rows and drops its own table. A run that was interrupted is
repeated and loses nothing. Where the telemetry database has no table yet, the observations of some days are given up.
"""

from itertools import islice

from django.db import connections, migrations, models

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
        migrations.RemoveIndex(
            model_name='device',
            name='devices_dev_domain__eac9af_idx',
        ),
        migrations.RemoveIndex(
            model_name='incident',
            name='devices_inc_domain__9f3fb9_idx',
        ),
        migrations.AddIndex(
            model_name='device',
            index=models.Index(fields=['domain', 'state', 'name', 'id'], name='devices_in_a_state'),
        ),
        migrations.AddIndex(
            model_name='device',
            index=models.Index(condition=models.Q(('quarantined_at__isnull', False)), fields=['domain', 'name', 'id'], name='quarantined_devices'),
        ),
        migrations.AddIndex(
            model_name='devicelog',
            index=models.Index(fields=['at'], name='logs_by_their_time'),
        ),
        migrations.AddIndex(
            model_name='incident',
            index=models.Index(fields=['domain', 'state', 'id'], name='incidents_in_a_state'),
        ),
        migrations.AddIndex(
            model_name='incident',
            index=models.Index(fields=['domain', 'device', 'id'], name='incidents_of_a_device'),
        ),
        migrations.AddIndex(
            model_name='incident',
            index=models.Index(fields=['domain', 'closed_at'], name='incidents_by_their_end'),
        ),
        migrations.AddIndex(
            model_name='series',
            index=models.Index(condition=models.Q(('step_ms__lte', 30000)), fields=['day', 'id'], name='fine_series'),
        ),
    ]
