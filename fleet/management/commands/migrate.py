"""``manage.py migrate``: Django's command, which also creates the schema of an empty database in one step."""

from django.core.management.commands import migrate

from fleet.management.fresh_layout import lay_out_when_empty

#: options for anything but "apply all migrations"
_OTHERWISE = ("app_label", "migration_name", "fake", "fake_initial", "plan", "check_unapplied", "prune")


class Command(migrate.Command):
    """Apply all migrations; with an option for anything less, do exactly what Django does."""

    def handle(self, *args: object, **options: object) -> None:
        """Create the schema of an empty database, or apply missing migrations; then send Django's signals."""
        if not any(options.get(name) for name in _OTHERWISE):
            lay_out_when_empty(str(options["database"]))
        super().handle(*args, **options)
