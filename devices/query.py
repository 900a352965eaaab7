"""One language for sets of devices, such as the URL of a list.

    hardware = vib-node and (site = "Hall 3" or tag in (pilot, canary)) and not quarantined
    runs.app = 2.0.0 and state = active            name ~ cam

Words need no quotes if they contain no spaces and no operators of the language. Everything is bounded, names of
fields are a fixed list, and values travel to the database as parameters only.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date

from django.db.models import Q, TextField, Value
from django.db.models.functions import Coalesce
from django.db.models.lookups import Exact

from devices.models import Device, Group, GroupMember
from devices.names import AUDIENCES, TAG
from devices.query_names import REFERENCES
from pki.kernel.errors import InvalidError
from pki.models.json_members import HoldsWord, member_of

LONGEST, MOST_TESTS, DEEPEST = 1000, 50, 16
_TOKEN = re.compile(r'\s*(?:("(?:[^"\\]|\\["\\])*")|(<=|>=|!=|[=<>~(),])|([^\s"=<>!~(),]+))')
_SIGNS = frozenset({"=", "<", ">", "~", "(", ")", ",", "!=", "<=", ">="})
_KEYWORDS = frozenset({"and", "or", "not", "in"})
_RUNS = re.compile(r"runs\.((?!.*__)[a-z0-9][a-z0-9._-]{0,59})")
_ORDER = {"<": "lt", "<=": "lte", ">": "gt", ">=": "gte"}
_END = ""


@dataclass(frozen=True, slots=True)
class Field:
    """One thing that can be asked about a device.

    Args:
        path: in the registry.
        operators: that make sense for it.
        says: what it asks for, one sentence for people; the filter of lists has it from here.
        check: refuses values that it can never have.
    """

    path: str
    operators: frozenset[str]
    says: str
    check: Callable[[str], str] = str


def _state(value: str) -> str:
    if value not in Device.State.values:
        msg = f"`state` must be one of: {', '.join(Device.State.values)}."
        raise InvalidError(msg)
    return value


def _audience(value: str) -> str:
    if value not in AUDIENCES:
        msg = f"`audience` must be one of: {', '.join(AUDIENCES)}."
        raise InvalidError(msg)
    return value


def _day(value: str) -> str:
    try:
        return date.fromisoformat(value).isoformat()
    except ValueError as error:
        msg = f"{value[:40]!r} is not a date. Write it as 2026-05-31."
        raise InvalidError(msg) from error


TEXT, EXACT, DAYS = frozenset({"=", "!=", "~", "in"}), frozenset({"=", "!=", "in"}), frozenset({"<", "<=", ">", ">="})
FIELDS = {
    "name": Field("name", TEXT, "The device's name."),
    "hardware": Field("hardware_model__name", TEXT, "Its hardware model."),
    "vendor": Field("hardware_model__vendor", TEXT, "The vendor of its hardware model."),
    "site": Field("site", TEXT, "Where it is installed."),
    "owner": Field("owner", TEXT, "Who owns it."),
    "audience": Field("audience", EXACT, "Its audience: lab, canary or production.", _audience),
    "state": Field("state", EXACT, "The device's lifecycle state.", _state),
    "gateway": Field("parent__name", TEXT, "The gateway that it connects through."),
    "enrolled": Field("enrolled_at__date", DAYS, "The date on which it enrolled, UTC.", _day),
    "group": Field("memberships", EXACT, "The group that it belongs to."),
    "tag": Field("tags", EXACT, "One of its tags."),
}
#: what can be asked and is no comparison of a field: its form, and what it asks for
FURTHER = {
    "runs.COMPONENT": ("`=` `!=`", "The version of a component that the device reports."),
    "quarantined": ("no operator", "Whether it is quarantined."),
}


def field_table() -> list[str]:
    """Return the table of fields in ``docs/reference/query.md``, as lines of Markdown."""
    lines = ["| Field | Selects by | Operators |", "|---|---|---|"]
    for name, field in FIELDS.items():
        operators = " ".join(f"`{operator}`" for operator in sorted(field.operators))
        lines.append(f"| `{name}` | {field.says} | {operators} |")
    return lines + [f"| `{name}` | {says} | {form} |" for name, (form, says) in FURTHER.items()]


def parse_query(text: str, within: Q) -> Q:
    """Return the condition that a query says; an empty query is every device.

    Args:
        text: the query.
        within: the condition that a row belongs to the domain; groups, hardware models and gateways are looked up
            there. The devices themselves are not limited to it.

    Raises:
        InvalidError: it is not a query, or it names something unknown; the message says where, and what is expected.
    """
    if len(text) > LONGEST:
        msg = f"The query has {len(text)} characters; the maximum is {LONGEST}."
        raise InvalidError(msg)
    if "\0" in text:
        msg = "The query contains a NUL character. Remove it."
        raise InvalidError(msg)
    if not text.strip():
        return Q()
    return _QueryParser(list(_tokens(text)), within).whole()


def _tokens(text: str) -> Iterator[str]:
    offset = 0
    while offset < len(text.rstrip()):
        match = _TOKEN.match(text, offset)
        if match is None:
            msg = f"The query has a syntax error at {text[offset:][:20].strip()!r}."
            raise InvalidError(msg)
        yield match[0].strip()
        offset = match.end()


class _QueryParser:
    """Reads tokens by recursive descent."""

    def __init__(self, tokens: list[str], within: Q) -> None:
        self._within = within
        self._tokens, self._at, self._tests, self._depth = tokens, 0, 0, 0

    def whole(self) -> Q:
        """Return the condition of all tokens."""
        condition = self._any()
        if self._next:
            msg = f"`and` or `or` is missing before {self._next[:40]!r}."
            raise InvalidError(msg)
        return condition

    @property
    def _next(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else _END

    def _take(self) -> str:
        token = self._next
        self._at += 1
        return token

    def _took(self, word: str) -> bool:
        if self._next.lower() != word:
            return False
        self._at += 1
        return True

    def _any(self) -> Q:
        condition = self._all()
        while self._took("or"):
            condition |= self._all()
        return condition

    def _all(self) -> Q:
        condition = self._one()
        while self._took("and"):
            condition &= self._one()
        return condition

    def _one(self) -> Q:
        self._depth += 1
        if self._depth > DEEPEST:
            msg = f"The query is nested deeper than {DEEPEST} levels."
            raise InvalidError(msg)
        try:
            if self._took("not"):
                return ~self._one()
            if self._took("("):
                condition = self._any()
                self._expect(")")
                return condition
            return self._test()
        finally:
            self._depth -= 1

    def _test(self) -> Q:
        self._tests += 1
        if self._tests > MOST_TESTS:
            msg = f"The query has more than {MOST_TESTS} conditions."
            raise InvalidError(msg)
        name = self._take()
        if name == "quarantined":
            return Q(quarantined_at__isnull=False)
        if match := _RUNS.fullmatch(name):
            return self._running(match[1])
        field = FIELDS.get(name)
        if field is None:
            known = ", ".join([*FIELDS, *FURTHER])
            msg = f"{name[:40]!r} is not a field. Fields: {known}."
            raise InvalidError(msg)
        return self._compared(name, field)

    def _compared(self, name: str, field: Field) -> Q:
        operator = self._take().lower()
        if operator not in field.operators:
            msg = f"{name} must be followed by one of: {' '.join(sorted(field.operators))}."
            raise InvalidError(msg)
        values = [field.check(value) for value in (self._values() if operator == "in" else [self._value()])]
        if name in REFERENCES and operator != "~":
            REFERENCES[name](values, self._within)
        if name == "group":
            groups = Group.objects.filter(self._within, name__in=values).values("pk")
            condition = Q(pk__in=GroupMember.objects.filter(group__in=groups).values("device_id"))
        elif name == "tag":
            condition = _tagged(values)
        elif operator == "~":
            condition = Q(**{f"{field.path}__icontains": values[0]})
        elif operator in _ORDER:
            condition = Q(**{f"{field.path}__{_ORDER[operator]}": values[0]})
        else:
            condition = Q(**{f"{field.path}__in": values})
        return ~condition if operator == "!=" else condition

    def _running(self, component: str) -> Q:
        """Ask what a device reports that it runs; versions are compared for equality only."""
        operator = self._take()
        if operator not in {"=", "!="}:
            msg = f"runs.{component} must be followed by = or != and a version."
            raise InvalidError(msg)
        version = member_of("twin__reported", "components", component, "version", text=True)
        condition = Q(Exact(Coalesce(version, Value(""), output_field=TextField()), self._value()))
        return ~condition if operator == "!=" else condition

    def _values(self) -> list[str]:
        self._expect("(")
        values = [self._value()]
        while self._took(","):
            values.append(self._value())
        self._expect(")")
        return values

    def _value(self) -> str:
        token = self._take()
        if token.startswith('"'):
            return re.sub(r'\\(["\\])', r"\1", token[1:-1])
        if not token or token in _SIGNS or token.lower() in _KEYWORDS:
            msg = f"A value is missing before {token or 'the end'!r}; put reserved words in quotes."
            raise InvalidError(msg)
        return token

    def _expect(self, sign: str) -> None:
        if not self._took(sign):
            msg = f"{sign!r} is missing before {self._next[:40] or 'the end'!r}."
            raise InvalidError(msg)


def _tagged(values: list[str]) -> Q:
    condition = Q(pk__in=[])
    for value in values:
        if not TAG.fullmatch(value):
            msg = (
                f"{value[:40]!r} is not a tag. A tag has at most 40 lower-case letters, digits and . _ : - characters."
            )
            raise InvalidError(msg)
        condition |= Q(HoldsWord("tags", Value(value)))
    return condition
