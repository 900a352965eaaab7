"""Changes that listeners must receive at once, so that they can answer from memory in between."""

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.sql.compiler import SQLCompiler

from pki.kernel import clock


class CurrentTransaction(models.Func):
    """The number of the transaction that writes (PostgreSQL); 0 on SQLite, whose row ids follow its commits."""

    output_field = models.BigIntegerField()

    def as_sql(  # type: ignore[override]  # an expression without parameters
        self, _compiler: SQLCompiler, _connection: BaseDatabaseWrapper, **_: object
    ) -> tuple[str, list[object]]:
        """Return the default of every database that has one writer at a time."""
        return "0", []

    def as_postgresql(self, _compiler: SQLCompiler, _connection: BaseDatabaseWrapper) -> tuple[str, list[object]]:
        """Return PostgreSQL's own number."""
        return "(pg_current_xact_id()::text::bigint)", []


class Change(models.Model):
    """A change of one device that affects a listener's answers; written in the same transaction.

    ``subject`` is the device's public id, or empty when everything may have changed.
    """

    subject = models.CharField(max_length=36, blank=True)
    at = models.DateTimeField(default=clock.now)
    writer = models.BigIntegerField(db_default=CurrentTransaction())

    class Meta:
        indexes = [models.Index(fields=["writer"])]

    def __str__(self) -> str:
        return self.subject or "everything"
