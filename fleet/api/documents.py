"""Stored JSON documents in responses: the TypedDict that names their members in the code describes them in OpenAPI."""

from collections.abc import Mapping, Sequence
from types import NoneType, UnionType
from typing import Literal, Union, get_args, get_origin, get_type_hints, is_typeddict

from drf_spectacular.drainage import set_override
from rest_framework import serializers

#: JSON type of each plain type
_PLAIN: Mapping[object, str] = {str: "string", bool: "boolean", int: "integer", float: "number", NoneType: "null"}


class DescribedDocument(serializers.JSONField):
    """A stored JSON document, returned unchanged."""

    def __init__(self, shape: object, *, help_text: str) -> None:
        """Describe the document.

        Args:
            shape: type of the document: a TypedDict, or a list or map of one.
            help_text: description of the field.
        """
        super().__init__(help_text=help_text)
        set_override(self, "field", schema_of(shape))


def schema_of(shape: object) -> dict[str, object]:
    """Return the JSON schema of a type: plain types, literals, lists, maps, unions and TypedDicts of these.

    Raises:
        TypeError: the type is none of these.
    """
    kind, inner = get_origin(shape), get_args(shape)
    if shape in _PLAIN or shape is object:
        return {"type": _PLAIN[shape]} if shape in _PLAIN else {}
    if is_typeddict(shape):
        return _schema_of_members(shape)
    if kind is Literal:
        return {"type": "string", "enum": list(inner)}
    if kind in {list, Sequence}:
        return {"type": "array", "items": schema_of(inner[0])}
    if kind in {dict, Mapping}:
        return {"type": "object", "additionalProperties": schema_of(inner[1])}
    if kind in {Union, UnionType}:
        return _schema_of_union([schema_of(one) for one in inner])
    msg = f"{shape!r} has no JSON schema here. Add its case."
    raise TypeError(msg)


def _schema_of_members(shape: object) -> dict[str, object]:
    """Return the schema of a TypedDict. Later versions may add members, so it allows additional ones."""
    members = {name: schema_of(hint) for name, hint in get_type_hints(shape).items()}
    required = sorted(getattr(shape, "__required_keys__", ()))
    return {"type": "object", "properties": members, **({"required": required} if required else {})}


def _schema_of_union(schemas: list[dict[str, object]]) -> dict[str, object]:
    """Return the schema of a union; plain types become one list of types."""
    if all(set(one) == {"type"} for one in schemas):
        return {"type": [one["type"] for one in schemas]}
    return {"anyOf": schemas}
