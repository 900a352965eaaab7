"""``manage.py migrate``: Django's own, which lays out an empty database at once."""

from django.core.management.commands import migrate

from fleet.management.fresh_layout import lay_out_when_empty

#: options that ask for something else than "bring everything up to date"
_OTHERWISE = ("app_label", "migration_name", "fake", "fake_initial", "plan", "check_unapplied", "prune")


class Command(migrate.Command):
    """Bring a database up to date; with any option that asks for less, exactly what Django does."""

    def handle(self, *args: object, **options: object) -> None:
        """Lay out an empty database, or apply what is missing; then tell the applications."""
        if not any(options.get(name) for name in _OTHERWISE):
            lay_out_when_empty(str(options["database"]))
        super().handle(*args, **options)
