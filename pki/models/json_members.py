"""Members of JSON objects in queries, with any names.

Django reads a name of digits as a place in a list, and two underscores as a path; names that devices and vendors
choose (components, attributes) may be both.
"""

import json

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import BooleanField, Func
from django.db.models.fields.json import KeyTextTransform, KeyTransform
from django.db.models.sql.compiler import SQLCompiler

#: a statement's text and its parameters
Sql = tuple[str, tuple[str | int, ...]]


class JsonMember(KeyTransform):
    """A member of a JSON object, as JSON: ``Member("0", Member("components", "reported"))``."""

    def as_sqlite(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **_extra: object) -> Sql:
        """Return the SQL of SQLite: every name of the path is quoted."""
        source, params, names = self.preprocess_lhs(compiler, connection)
        path = "$" + "".join(f".{json.dumps(name)}" for name in names)
        return f"json_extract({source}, %s)", (*params, path)

    def as_postgresql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper) -> Sql:
        """Return the SQL of PostgreSQL: a path takes names of digits as names where there is an object."""
        source, params, names = self.preprocess_lhs(compiler, connection)
        operator = "#>>" if isinstance(self, KeyTextTransform) else "#>"
        return f"({source} {operator} %s)", (*params, names)


class TextMember(JsonMember, KeyTextTransform):
    """A member of a JSON object, as text."""


class HoldsWord(Func):
    """Whether a JSON list of texts holds a word: ``HoldsWord("tags", Value("pilot"))``; the word is plain ASCII.

    On PostgreSQL a GIN index of the operators ``jsonb_path_ops`` answers it.
    """

    arity = 2
    output_field = BooleanField()

    def as_sqlite(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **_extra: object) -> Sql:  # noqa: ARG002  because Django calls it so
        """Return the SQL of SQLite: the list's text holds each word between quotes."""
        (source, params), (_, (word,)) = map(compiler.compile, self.source_expressions)
        return f"instr({source}, %s) > 0", (*params, json.dumps(word))

    def as_postgresql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **_extra: object) -> Sql:  # noqa: ARG002  because Django calls it so
        """Return the SQL of PostgreSQL."""
        (source, params), (_, (word,)) = map(compiler.compile, self.source_expressions)
        return f"{source} @> %s::jsonb", (*params, json.dumps([word]))


def member_of(source: str, *names: str, text: bool = False) -> JsonMember:
    """Return the expression of a member.

    Args:
        source: the field, by its path from the model that is asked.
        *names: of the members on the way, outermost first; none has a quotation mark or a backslash, which SQLite reads
            as they stand.
        text: True for the text itself, False for JSON.
    """
    member: str | JsonMember = source
    for name in names[:-1]:
        member = JsonMember(name, member)
    return (TextMember if text else JsonMember)(names[-1], member)
