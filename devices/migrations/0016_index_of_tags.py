"""An index of tags on PostgreSQL, which SQLite does not have: no model can say it."""

from django.db import migrations


def make(apps, schema_editor):
    """Make the index; devices with one of some tags are found without a look at all others."""
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(
            "CREATE INDEX devices_with_a_tag ON devices_device USING gin (tags jsonb_path_ops)", None
        )


def remove(apps, schema_editor):
    """Remove the index."""
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("DROP INDEX devices_with_a_tag", None)


class Migration(migrations.Migration):

    dependencies = [
        ('devices', '0015_fill_presence'),
    ]

    operations = [migrations.RunPython(make, remove, elidable=False)]
