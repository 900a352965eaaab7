"""Let the database itself refuse to change or remove what the ledger holds."""

from django.db import migrations

TABLES = ("pki_ledgerentry", "pki_ledgerorder", "pki_ledgerhead")


def forbid(apps, schema_editor):
    """Add triggers that refuse UPDATE and DELETE."""
    if schema_editor.connection.vendor == "sqlite":
        for table in TABLES:
            for act in ("UPDATE", "DELETE"):
                schema_editor.execute(
                    f"CREATE TRIGGER {table}_no_{act.lower()} BEFORE {act} ON {table} "
                    f"BEGIN SELECT RAISE(ABORT, 'the ledger only grows'); END"
                )
    else:
        schema_editor.execute(
            "CREATE FUNCTION pki_ledger_only_grows() RETURNS trigger AS $$ "
            "BEGIN RAISE EXCEPTION 'the ledger only grows'; END $$ LANGUAGE plpgsql"
        )
        for table in TABLES:
            schema_editor.execute(
                f"CREATE TRIGGER {table}_only_grows BEFORE UPDATE OR DELETE ON {table} "
                f"FOR EACH ROW EXECUTE FUNCTION pki_ledger_only_grows()"
            )
            schema_editor.execute(
                f"CREATE TRIGGER {table}_stays BEFORE TRUNCATE ON {table} "
                f"FOR EACH STATEMENT EXECUTE FUNCTION pki_ledger_only_grows()"
            )


def allow(apps, schema_editor):
    """Take the triggers away."""
    if schema_editor.connection.vendor == "sqlite":
        for table in TABLES:
            for act in ("update", "delete"):
                schema_editor.execute(f"DROP TRIGGER {table}_no_{act}")
    else:
        for table in TABLES:
            schema_editor.execute(f"DROP TRIGGER {table}_only_grows ON {table}")
            schema_editor.execute(f"DROP TRIGGER {table}_stays ON {table}")
        schema_editor.execute("DROP FUNCTION pki_ledger_only_grows()")


class Migration(migrations.Migration):
    dependencies = [("pki", "0001_initial")]

    operations = [migrations.RunPython(forbid, allow, elidable=False)]
