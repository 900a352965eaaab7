"""Triggers that keep the counts of assignments by status, and the counts of the rollouts that are there."""

from django.db import migrations

TABLE = "ota_assignment"
REASON = "CASE WHEN {0}.status = 'error' THEN {0}.reason ELSE '' END"
SQLITE_ADD = """
    INSERT INTO ota_statuscount (rollout_id, wave_id, status, reason, part, devices)
    SELECT {row}.rollout_id, {row}.wave_id, {row}.status, {reason}, 0, {many}
    WHERE {row}.wave_id IS NOT NULL AND {row}.rollout_id IS NOT NULL
    ON CONFLICT (rollout_id, wave_id, status, reason, part) DO UPDATE SET devices = devices + excluded.devices;
"""
SQLITE_CHANGED = (
    "WHEN OLD.status IS NOT NEW.status OR OLD.wave_id IS NOT NEW.wave_id OR OLD.rollout_id IS NOT NEW.rollout_id"
    " OR (NEW.status = 'error' AND OLD.reason IS NOT NEW.reason)"
)
POSTGRESQL_FUNCTION = """
    CREATE FUNCTION ota_count_{act}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO ota_statuscount (rollout_id, wave_id, status, reason, part, devices)
        SELECT rollout_id, wave_id, status, why, nextval('ota_statuscount_parts'), sum(many) FROM ({rows}) AS changed
        GROUP BY rollout_id, wave_id, status, why HAVING sum(many) <> 0;
        RETURN NULL;
    END $$
"""
POSTGRESQL_ROWS = """
    SELECT rollout_id, wave_id, status, CASE WHEN status = 'error' THEN reason ELSE '' END AS why, {many} AS many
    FROM {rows} WHERE wave_id IS NOT NULL AND rollout_id IS NOT NULL
"""
#: what triggers read: by act, the rows before and after it
POSTGRESQL_ACTS = {
    "insert": ("REFERENCING NEW TABLE AS new_rows", (("new_rows", 1),)),
    "update": ("REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows", (("old_rows", -1), ("new_rows", 1))),
    "delete": ("REFERENCING OLD TABLE AS old_rows", (("old_rows", -1),)),
}
#: causes are read from the rows of failures alone, all other numbers from an index
COUNT = """
    INSERT INTO ota_statuscount (rollout_id, wave_id, status, reason, part, devices)
    SELECT w.rollout_id, w.id, found.status, found.reason, 0, found.devices FROM ota_wave w CROSS JOIN (
        SELECT status, '' AS reason, count(*) AS devices FROM ota_assignment
        WHERE wave_id = %s AND status <> 'error' GROUP BY status
        UNION ALL
        SELECT status, reason, count(*) AS devices FROM ota_assignment
        WHERE wave_id = %s AND status = 'error' GROUP BY status, reason
    ) AS found WHERE w.id = %s
"""


def watch(apps, schema_editor):
    """Add the triggers."""
    if schema_editor.connection.vendor == "sqlite":
        added, gone = (SQLITE_ADD.format(row=row, reason=REASON.format(row), many=many) for row, many in
                       (("NEW", 1), ("OLD", -1)))  # fmt: skip
        columns = "OF status, reason, wave_id, rollout_id"
        for act, when, body in (
            ("insert", "", added),
            (f"update {columns}", SQLITE_CHANGED, gone + added),
            ("delete", "", gone),
        ):
            name = f"{TABLE}_count_{act.split()[0]}"
            schema_editor.execute(f"CREATE TRIGGER {name} AFTER {act} ON {TABLE} {when} BEGIN {body} END", None)
        return
    schema_editor.execute("CREATE SEQUENCE ota_statuscount_parts", None)
    for act, (tables, rows) in POSTGRESQL_ACTS.items():
        union = " UNION ALL ".join(POSTGRESQL_ROWS.format(rows=name, many=many) for name, many in rows)
        schema_editor.execute(POSTGRESQL_FUNCTION.format(act=act, rows=union), None)
        schema_editor.execute(
            f"CREATE TRIGGER {TABLE}_count_{act} AFTER {act} ON {TABLE} {tables} "
            f"FOR EACH STATEMENT EXECUTE FUNCTION ota_count_{act}()",
            None,
        )


def unwatch(apps, schema_editor):
    """Take the triggers away, and the counts, which do not hold without them."""
    sqlite = schema_editor.connection.vendor == "sqlite"
    for act in POSTGRESQL_ACTS:
        schema_editor.execute(f"DROP TRIGGER {TABLE}_count_{act}" + ("" if sqlite else f" ON {TABLE}"), None)
        if not sqlite:
            schema_editor.execute(f"DROP FUNCTION ota_count_{act}()", None)
    if not sqlite:
        schema_editor.execute("DROP SEQUENCE ota_statuscount_parts", None)
    apps.get_model("ota", "StatusCount").objects.all().delete()


def fill(apps, schema_editor):
    """Count the assignments that are there: a wave in each statement, which reads only an index of it."""
    for wave in apps.get_model("ota", "Wave").objects.order_by("id").values_list("id", flat=True).iterator():
        with schema_editor.connection.cursor() as cursor:
            cursor.execute(COUNT, [wave] * 3)


def leave(apps, schema_editor):
    """Leave the counts as they are: the step before removes them."""


class Migration(migrations.Migration):

    dependencies = [
        ('ota', '0021_status_counts'),
    ]

    operations = [
        migrations.RunPython(watch, unwatch, elidable=False),
        migrations.RunPython(fill, leave, elidable=False),
    ]
