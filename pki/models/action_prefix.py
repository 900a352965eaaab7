"""The part of an action's name before the first dot (``rollout`` of ``rollout.start``), as the database computes it.

An index holds it: the entries under a prefix are read from there in the order of their ids. ``LIKE 'rollout.%'`` makes
a database choose between all entries of the domain, and a sort of all that match.
"""

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import CharField, Func
from django.db.models.sql.compiler import SQLCompiler

from pki.models.json_members import Sql


class ActionPrefix(Func):
    """The part of a text before the first dot; all of it when there is none."""

    function = "split_part"
    template = "split_part(%(expressions)s, '.', 1)"
    arity = 1
    output_field = CharField()

    def as_sqlite(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **_extra: object) -> Sql:  # noqa: ARG002  because Django calls it so
        """Return the SQL of SQLite; without parameters, or its planner would not find the index."""
        source, params = compiler.compile(self.source_expressions[0])
        return f"substr({source}, 1, instr({source} || '.', '.') - 1)", (*params, *params)
