"""Route models to databases: telemetry may lose its last seconds, identity and trust data may not."""

from django.db.models import Model

TELEMETRY = frozenset(
    {
        "presence",
        "sourcenetwork",
        "sample",
        "sampleday",
        "series",
        "batchseen",
        "observation",
        "observationday",
        "driftstate",
        "devicelog",
    }
)


class TelemetryRouter:
    """Send the telemetry tables of ``devices`` to their own database, everything else to ``default``."""

    def db_for_read(self, model: type[Model], **_hints: object) -> str:
        """Return the database alias of this model."""
        return _alias(model._meta.app_label, model._meta.model_name)

    def db_for_write(self, model: type[Model], **_hints: object) -> str:
        """Return the database alias of this model."""
        return _alias(model._meta.app_label, model._meta.model_name)

    def allow_relation(self, one: Model, other: Model, **_hints: object) -> bool:
        """Allow relations within one database only."""
        return self.db_for_read(type(one)) == self.db_for_read(type(other))

    def allow_migrate(self, db: str, app_label: str, model_name: str | None = None, **_hints: object) -> bool:
        """Create each table in its own database only."""
        return db == _alias(app_label, model_name)


def _alias(app_label: str, model_name: str | None) -> str:
    return "telemetry" if app_label == "devices" and model_name in TELEMETRY else "default"
