"""Triggers that keep the counts of patches by rollout, format and outcome, and the counts of what was reported."""

from django.db import migrations

TABLE = "ota_patchtry"
SQLITE_ADD = """
    INSERT INTO ota_patchcount (rollout_id, format, failed, part, devices)
    SELECT rollout_id, {row}.format, {row}.trouble <> '', 0, {many} FROM ota_assignment
    WHERE id = {row}.assignment_id AND rollout_id IS NOT NULL
    ON CONFLICT (rollout_id, format, failed, part) DO UPDATE SET devices = devices + excluded.devices;
"""
SQLITE_CHANGED = (
    "WHEN OLD.format IS NOT NEW.format OR (OLD.trouble = '') IS NOT (NEW.trouble = '')"
    " OR OLD.assignment_id IS NOT NEW.assignment_id"
)
POSTGRESQL_FUNCTION = """
    CREATE FUNCTION ota_count_patch_{act}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO ota_patchcount (rollout_id, format, failed, part, devices)
        SELECT a.rollout_id, changed.format, changed.failed, nextval('ota_patchcount_parts'), sum(changed.many)
        FROM ({rows}) AS changed JOIN ota_assignment a ON a.id = changed.assignment_id
        WHERE a.rollout_id IS NOT NULL
        GROUP BY a.rollout_id, changed.format, changed.failed HAVING sum(changed.many) <> 0;
        RETURN NULL;
    END $$
"""
POSTGRESQL_ROWS = "SELECT assignment_id, format, trouble <> '' AS failed, {many} AS many FROM {rows}"
#: what triggers read: by act, the rows before and after it
POSTGRESQL_ACTS = {
    "insert": ("REFERENCING NEW TABLE AS new_rows", (("new_rows", 1),)),
    "update": ("REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows", (("old_rows", -1), ("new_rows", 1))),
    "delete": ("REFERENCING OLD TABLE AS old_rows", (("old_rows", -1),)),
}
COUNT = """
    INSERT INTO ota_patchcount (rollout_id, format, failed, part, devices)
    SELECT a.rollout_id, t.format, t.trouble <> '', 0, count(*)
    FROM ota_patchtry t JOIN ota_assignment a ON a.id = t.assignment_id
    WHERE a.rollout_id IS NOT NULL GROUP BY a.rollout_id, t.format, t.trouble <> ''
"""


def watch(apps, schema_editor):
    """Add the triggers."""
    if schema_editor.connection.vendor == "sqlite":
        added, gone = (SQLITE_ADD.format(row=row, many=many) for row, many in (("NEW", 1), ("OLD", -1)))
        for act, when, body in (
            ("insert", "", added),
            ("update OF format, trouble, assignment_id", SQLITE_CHANGED, gone + added),
            ("delete", "", gone),
        ):
            name = f"{TABLE}_count_{act.split()[0]}"
            schema_editor.execute(f"CREATE TRIGGER {name} AFTER {act} ON {TABLE} {when} BEGIN {body} END", None)
        return
    schema_editor.execute("CREATE SEQUENCE ota_patchcount_parts", None)
    for act, (tables, rows) in POSTGRESQL_ACTS.items():
        union = " UNION ALL ".join(POSTGRESQL_ROWS.format(rows=name, many=many) for name, many in rows)
        schema_editor.execute(POSTGRESQL_FUNCTION.format(act=act, rows=union), None)
        schema_editor.execute(
            f"CREATE TRIGGER {TABLE}_count_{act} AFTER {act} ON {TABLE} {tables} "
            f"FOR EACH STATEMENT EXECUTE FUNCTION ota_count_patch_{act}()",
            None,
        )


def unwatch(apps, schema_editor):
    """Take the triggers away, and the counts, which do not hold without them."""
    sqlite = schema_editor.connection.vendor == "sqlite"
    for act in POSTGRESQL_ACTS:
        schema_editor.execute(f"DROP TRIGGER {TABLE}_count_{act}" + ("" if sqlite else f" ON {TABLE}"), None)
        if not sqlite:
            schema_editor.execute(f"DROP FUNCTION ota_count_patch_{act}()", None)
    if not sqlite:
        schema_editor.execute("DROP SEQUENCE ota_patchcount_parts", None)
    apps.get_model("ota", "PatchCount").objects.all().delete()


def fill(apps, schema_editor):
    """Count what devices have reported: one statement over their reports, which are fewer than the assignments."""
    schema_editor.execute(COUNT, None)


def leave(apps, schema_editor):
    """Leave the counts as they are: the step before removes them."""


class Migration(migrations.Migration):

    dependencies = [
        ('ota', '0023_patch_counts'),
    ]

    operations = [
        migrations.RunPython(watch, unwatch, elidable=False),
        migrations.RunPython(fill, leave, elidable=False),
    ]
