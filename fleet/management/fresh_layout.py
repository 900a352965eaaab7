"""Create the schema of an empty database in one step, equal to the result of all migrations but ten times faster.

An existing installation is never touched: ``manage.py migrate`` applies its missing migrations. A test compares
both ways on SQLite and PostgreSQL: tables, columns, indexes, constraints and triggers are the same.
"""

from django.db import connections, router
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

#: migrations whose first operation creates triggers, or an index that a model cannot declare
_BESIDE_MODELS = (
    ("pki", "0002_ledger_is_immutable"),
    ("ota", "0022_count_statuses"),
    ("ota", "0024_count_patches"),
    ("devices", "0016_index_of_tags"),
    ("devices", "0019_index_of_names"),
)

#: advisory lock on PostgreSQL while the schema is created; the number is arbitrary
_LOCK = 0x4D75_7374_6572


def lay_out_when_empty(alias: str) -> bool:
    """Create every table of one database and record all migrations, in one transaction; return whether it was empty.

    Args:
        alias: database alias, ``default`` or ``telemetry``.
    """
    connection = connections[alias]
    if not _is_empty(connection):
        return False
    loader = MigrationLoader(connection)
    state = loader.project_state()
    with connection.schema_editor(atomic=True) as editor:
        if connection.vendor == "postgresql":
            editor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        if not _is_empty(connection):  # another machine has created the schema meanwhile
            return False
        for model in state.apps.get_models():
            if model._meta.can_migrate(connection) and router.allow_migrate_model(alias, model):
                editor.create_model(model)
        for app, name in _BESIDE_MODELS:
            loader.disk_migrations[app, name].operations[0].database_forwards(app, editor, state, state)
        _record_migrations(connection, editor, loader)
    return True


def _is_empty(connection: BaseDatabaseWrapper) -> bool:
    with connection.cursor() as cursor:
        return not connection.introspection.table_names(cursor)


def _record_migrations(
    connection: BaseDatabaseWrapper, editor: BaseDatabaseSchemaEditor, loader: MigrationLoader
) -> None:
    recorder = MigrationRecorder(connection)
    editor.create_model(recorder.Migration)
    recorder.migration_qs.bulk_create(
        recorder.Migration(app=app, name=name) for app, name in sorted(loader.disk_migrations)
    )
