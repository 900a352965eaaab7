"""Validation of outside data: which text, numbers and documents are accepted, for every protocol and format.

Readers of JSON and CBOR (``pki.kernel.strict_json``, ``pki.kernel.cbor``) call this module, and so do servers for
paths, queries, forms and fields. Identifiers, numbers and the fields of our own API are refused with the field's name;
free text of foreign clients is cleaned, never refused.
"""

import math
import re
import unicodedata
from collections.abc import Iterator

from pki.kernel.errors import InvalidError

#: what a signed 64-bit column of either database holds
LEAST, MOST = -(2**63), 2**63 - 1
MOST_DEPTH, MOST_ITEMS = 32, 200_000
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
#: marks of stored free text that is not what the client sent
REPLACED, CUT = " [characters replaced]", " [cut]"
#: neither UTF-8 nor PostgreSQL takes these: NUL, and halves of characters beyond the basic plane
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
#: characters that change how text around them is shown (Unicode TR 36, 39): directions, controls but tab and line ends
_MISLEADING = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
#: categories of Unicode that no identifier holds: controls, formats, halves, private, unassigned, separators of lines
_NO_NAME = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def read_text(value: object, field: str, *, most: int = 0, most_bytes: int = 0) -> str:
    """Return a text that every database and UTF-8 accepts.

    Args:
        value: of the request.
        field: its name, for the sentence of a refusal.
        most: characters that are accepted; 0 leaves that to the caller.
        most_bytes: bytes of UTF-8 that are accepted; 0 leaves that to the caller.

    Raises:
        InvalidError: no text, too long, or with a character that cannot be stored.
    """
    if not isinstance(value, str):
        msg = f"`{field}` must be a string."
        raise InvalidError(msg, field=field)
    if match := _UNSTORABLE.search(value):
        msg = f"`{field}` holds the character U+{ord(match[0]):04X}, which is not allowed in text. Remove it."
        raise InvalidError(msg, field=field)
    if (most and len(value) > most) or (most_bytes and len(value.encode()) > most_bytes):
        limit = f"{most} characters" if most and len(value) > most else f"{most_bytes} bytes"
        msg = f"`{field}` is longer than {limit}. Shorten it."
        raise InvalidError(msg, field=field)
    return value


def check_identifier(value: object, field: str, *, most: int = 0) -> str:
    """Return a name in Unicode's composed form (NFC): printable, without controls, directions and invisible characters.

    Raises:
        InvalidError: no text, too long, or with a character that no name holds.
    """
    name = unicodedata.normalize("NFC", read_text(value, field, most=most))
    wrong = next((char for char in name if unicodedata.category(char) in _NO_NAME), None)
    if wrong is not None:
        msg = f"`{field}` holds the character U+{ord(wrong):04X}, which is not printable. Remove it."
        raise InvalidError(msg, field=field)
    return name


def check_integer(value: object, field: str, least: int = LEAST, most: int = MOST) -> int:
    """Return a whole number within bounds that a database can hold.

    Raises:
        InvalidError: no integer, or out of bounds.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        msg = f"`{field}` must be a whole number from {least} to {most}."
        raise InvalidError(msg, field=field)
    return value


def map_of(value: object, field: str) -> dict[str, object]:
    """Return a decoded map: an object of JSON, or a map of CBOR with texts as keys.

    Raises:
        InvalidError: it is none.
    """
    if not isinstance(value, dict):
        msg = f"`{field}` must be a map of names to values."
        raise InvalidError(msg, field=field)
    return value


def list_of(value: object, field: str) -> list[object]:
    """Return a decoded list.

    Raises:
        InvalidError: it is none.
    """
    if not isinstance(value, list):
        msg = f"`{field}` must be a list."
        raise InvalidError(msg, field=field)
    return value


def clean_text(value: str, most: int) -> tuple[str, bool]:
    """Return free text of a foreign client with bad characters replaced, cut; and whether either was needed."""
    short = value[:most]
    clean = _MISLEADING.sub(REPLACEMENT, short)
    return clean, clean != value


def kept_text(value: str, most: int) -> str:
    """Return free text of a client as it is stored: clean and short, with a mark where that changed it."""
    clean, _ = clean_text(value, most)
    marks = REPLACED if REPLACEMENT in clean else ""
    marks += CUT if len(value) > most else ""
    return clean[: most - len(marks)] + marks


def storable_text(value: str) -> str:
    """Replace characters that no database stores; for texts that were stored before such checks."""
    return _UNSTORABLE.sub(REPLACEMENT, value)


def storable_document(value: object) -> object:
    """Return a document as ``storable_text`` returns a text; one that is already so comes back as it is."""
    if isinstance(value, str):
        return storable_text(value)
    if isinstance(value, dict):
        return {
            storable_text(key) if isinstance(key, str) else key: storable_document(item) for key, item in value.items()
        }
    return [storable_document(item) for item in value] if isinstance(value, list | tuple) else value


def check_document(
    value: object, *, most_depth: int = MOST_DEPTH, most_items: int = MOST_ITEMS, name: str = ""
) -> None:
    """Refuse a decoded document with values that cannot be stored, or that is too deep or too large.

    Args:
        value: maps, lists, text, byte strings, numbers, true, false and null.
        most_depth: of maps and lists in each other.
        most_items: values in all.
        name: of the document, for the sentence of a refusal.

    Raises:
        InvalidError: it names the place, as in ``config.ports[2]``.
    """
    for count, (place, depth, one) in enumerate(_walk(value, name)):
        if depth > most_depth or count >= most_items:
            limit = f"{most_items} values" if count >= most_items else f"{most_depth} levels of nesting"
            msg = f"`{shown_name(place or 'body')}` has more than {limit}."
            raise InvalidError(msg, field=shown_name(place))
        if isinstance(one, str):
            read_text(one, shown_name(place or "body"))
        elif isinstance(one, int) and not isinstance(one, bool):
            check_integer(one, shown_name(place or "body"))
        elif isinstance(one, float) and not math.isfinite(one):
            msg = f"`{shown_name(place or 'body')}` must be a finite number."
            raise InvalidError(msg, field=shown_name(place))


def shown_name(name: object, most: int = 80) -> str:
    """Return a name of a request in a form for messages: printable and short."""
    return clean_text(str(name), most)[0].replace("\n", " ").replace("\r", " ")


def _walk(value: object, name: str) -> Iterator[tuple[str, int, object]]:
    """Yield place, depth and value of everything in a document, keys included; without recursion."""
    waiting: list[tuple[str, int, object]] = [(name, 0, value)]
    while waiting:
        place, depth, one = waiting.pop()
        level = depth + 1 if isinstance(one, dict | list | tuple) else depth
        yield place, level, one
        if isinstance(one, dict):
            for key, inner in one.items():
                inside = f"{place}.{key}" if place else str(key)
                waiting += [(inside, level, inner), (f"name in {place or 'body'}", level, key)]
        elif isinstance(one, list | tuple):
            waiting += [(f"{place}[{index}]", level, inner) for index, inner in enumerate(one)]
