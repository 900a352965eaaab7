"""Read the JSON form of a description, as RFC 8259 defines JSON; SWUpdate's own reader takes more. Pure.

json-c also takes comments, single quotes, a duplicate name (the last counts), and anything behind the object. Each of
these shows people something else than the device reads, so they are refused.
"""

import json
from typing import NoReturn

from ota.formats.swupdate.tree import MOST_DEPTH, Setting, refuse_description


def read_json_description(data: bytes) -> Setting:
    """Return the settings of a JSON text as one group.

    Raises:
        RefusedBundleError: it is no JSON, nested too deeply, or has a name twice.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        refuse_description("the JSON is not UTF-8. Write it in UTF-8.")
    try:
        value = json.loads(text, object_pairs_hook=_members, parse_constant=_constant)
    except json.JSONDecodeError as error:
        refuse_description(f"not JSON: {error.msg}.", error.lineno)
    except (RecursionError, ValueError):
        refuse_description(f"it is nested deeper than {MOST_DEPTH} levels, or holds a number that is too long.")
    return _setting(value, 0)


def _members(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        names = [name for name, _ in pairs]
        double = next(name for name in names if names.count(name) > 1)
        refuse_description(f"the setting {double[:60]!r} appears twice in one object. Remove one.")
    return members


def _constant(name: str) -> NoReturn:
    refuse_description(f"{name} is not JSON.")


def _setting(value: object, depth: int) -> Setting:
    if depth > MOST_DEPTH:
        refuse_description(f"it is nested deeper than {MOST_DEPTH} levels.")
    if isinstance(value, dict):
        return Setting("group", {_text(name): _setting(item, depth + 1) for name, item in value.items()}, 0)
    if isinstance(value, list):
        return Setting("list", tuple(_setting(item, depth + 1) for item in value), 0)
    return _plain(value)


def _plain(value: object) -> Setting:
    if isinstance(value, bool | float):
        return Setting(type(value).__name__, value, 0)
    if isinstance(value, str):
        return Setting("string", _text(value), 0)
    if not isinstance(value, int):
        return Setting("null", None, 0)
    if not -(2**63) <= value < 2**63:
        refuse_description("it holds a number that does not fit 64 bits.")
    return Setting("int", value, 0)


def _text(value: str) -> str:
    if "\0" in value or any("\ud800" <= sign <= "\udfff" for sign in value):
        refuse_description("a string contains a NUL or a lone surrogate. Remove it.")
    return value
