"""Filters of lists, defined once: one frozen dataclass per list, whose fields describe themselves.

Such a class defines the parameters of the REST API and their documentation, the form of the console, options of
commands, and the fields of the query language that have the same names. A field that is empty is not asked. What is
unknown, given twice or with an invalid value is refused with the accepted ones; a filter is never ignored.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import date
from enum import StrEnum
from typing import Any, TypeVar

from pki.kernel import intake
from pki.kernel.errors import InvalidError

#: of a text that is looked for, characters
MOST_TEXT = 200


class Form(StrEnum):
    """How the value of a filter is written."""

    TEXT = "text"
    CHOICE = "choice"
    YES_NO = "yes or no"
    NUMBER = "number"
    DAY = "day"
    QUERY = "query"
    REFERENCE = "name or public id"


@dataclass(frozen=True, slots=True)
class Criterion:
    """The criterion of one filter field.

    Args:
        says: one sentence for people, without the field's name.
        form: how its value is written.
        choices: the values of a choice.
        unit: of a number.
        least: the smallest number.
        most: the longest text, or the largest number.
        usual: what holds when the field is empty, a number or words; empty where it then asks nothing.
        pattern: regular expression that the whole of a text matches; empty for any text.
        required: whether the field must not be empty.
        source: where the answer comes from: a column, or the table that holds it.
    """

    says: str
    form: Form = Form.TEXT
    choices: tuple[str, ...] = ()
    unit: str = ""
    least: int = 1
    most: int = MOST_TEXT
    usual: str = ""
    pattern: str = ""
    required: bool = False
    source: str = ""


@dataclass(frozen=True, slots=True)
class NoFilter:
    """The filter of a list without criteria."""


_Filter = TypeVar("_Filter")
_DIGITS = re.compile(r"[0-9]{1,15}")


def text_field(says: str, source: str = "", most: int = MOST_TEXT) -> str:
    """Return a field for a text."""
    return _field(Criterion(says, Form.TEXT, most=most, source=source))


def choice_field(says: str, choices: Sequence[str], source: str = "") -> str:
    """Return a field for one of several choices."""
    return _field(Criterion(says, Form.CHOICE, tuple(choices), source=source))


def yes_no(says: str, source: str = "") -> str:
    """Return a field for a boolean."""
    return _field(Criterion(says, Form.YES_NO, ("yes", "no"), source=source))


def number_field(says: str, unit: str, most: int, source: str = "") -> str:
    """Return a field for a whole number from 1 on."""
    return _field(Criterion(says, Form.NUMBER, unit=unit, most=most, source=source))


def setting_field(says: str, unit: str, bounds: tuple[int, int], usual: str = "", source: str = "") -> str:
    """Return a field for a whole number that sets how much is returned, rather than what must match.

    Args:
        says: one sentence for people.
        unit: of the number.
        bounds: the smallest and the largest.
        usual: what holds when it is not given.
        source: where the answer comes from.
    """
    least, most = bounds
    return _field(Criterion(says, Form.NUMBER, unit=unit, least=least, most=most, usual=usual, source=source))


def word_field(says: str, pattern: str, source: str = "") -> str:
    """Return a required field for a word of a certain form."""
    return _field(Criterion(says, Form.TEXT, pattern=pattern, required=True, source=source))


def reference_field(says: str, source: str = "") -> str:
    """Return a field that names one thing, by its name or by its public id."""
    return _field(Criterion(says, Form.REFERENCE, source=source))


def query_text(says: str, most: int) -> str:
    """Return a field for a query over devices."""
    return _field(Criterion(says, Form.QUERY, most=most, source="devices/query.py"))


def _field(criterion: Criterion) -> str:
    usual = criterion.usual if criterion.usual.isdecimal() else ""
    return field(default=usual, metadata={"criterion": criterion})


def criteria_of(shape: type[Any]) -> dict[str, Criterion]:  # untyped: dataclasses have no common base class
    """Return the criterion of each field of a filter, in order."""
    return {field.name: field.metadata["criterion"] for field in fields(shape)}


def parse_filter(shape: type[_Filter], given: Mapping[str, Sequence[str]], also: Collection[str] = ()) -> _Filter:
    """Return the filter for the parameters of a request.

    Args:
        shape: the filter of the list.
        given: name to values, as often as it is in the URL.
        also: further names that the request may hold, such as those of pages; they are not looked at.

    Raises:
        InvalidError: a name is unknown or given twice, or a value cannot be meant; the sentence says what can.
    """
    known = criteria_of(shape)
    if unknown := [name for name in given if name not in known and name not in also]:
        allowed = ", ".join([*known, *sorted(also)]) or "none"
        msg = f"Unknown parameter {intake.shown_name(unknown[0][:40])!r}. Parameters: {allowed}."
        raise InvalidError(msg)
    if twice := [name for name, values in given.items() if len(values) > 1]:
        msg = f"The parameter `{twice[0]}` is given {len(given[twice[0]])} times. Give it once."
        raise InvalidError(msg)
    asked = {name: values[0] for name, values in given.items() if name in known and values and values[0]}
    if missing := [name for name, criterion in known.items() if criterion.required and name not in asked]:
        msg = f"The parameter `{missing[0]}` is required. {known[missing[0]].says}"
        raise InvalidError(msg)
    for name, value in asked.items():
        _check(name, value, known[name])
    return shape(**asked)


def _check(name: str, value: str, criterion: Criterion) -> None:
    if criterion.choices:
        if value not in criterion.choices:
            msg = f"`{name}` must be one of: {', '.join(criterion.choices)}."
            raise InvalidError(msg)
    elif criterion.form is Form.NUMBER:
        if not _DIGITS.fullmatch(value) or not criterion.least <= int(value) <= criterion.most:
            msg = f"`{name}` must be a whole number of {criterion.unit} from {criterion.least} to {criterion.most}."
            raise InvalidError(msg)
    elif criterion.form is Form.DAY:
        _check_day(name, value)
    elif len(value) > criterion.most:
        msg = f"`{name}` has {len(value)} characters; the maximum is {criterion.most}."
        raise InvalidError(msg)
    elif criterion.pattern and not re.fullmatch(criterion.pattern, value):
        msg = f"`{name}` must match {criterion.pattern}. {criterion.says}"
        raise InvalidError(msg)


def _check_day(name: str, value: str) -> None:
    try:
        date.fromisoformat(value)
    except ValueError as error:
        msg = f"`{name}` must be a date such as 2026-05-31."
        raise InvalidError(msg) from error
