"""Add examples to the OpenAPI document: one per type, from ``examples.json``, referenced wherever the type is used.

The example of a page, or of another composite type, is built from the examples of its parts. A request body
without a type of its own has its example under its method and path.
"""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pki.kernel import strict_json

#: prefix of every path of the API
BELOW = "/api/v1/"
#: prefix of a path -> the type whose example has the id in that path, and the field with the id
THINGS: Mapping[str, tuple[str, str]] = {
    "api-tokens": ("ApiTokenOut", "id"),
    "authorities": ("AuthorityOut", "key_id"),
    "bundles": ("BundleOut", "id"),
    "certificates": ("CertificateOut", "fingerprint"),
    "commands": ("CommandOut", "id"),
    "devices": ("DeviceOut", "id"),
    "enrolment-requests": ("WaitingOut", "id"),
    "enrolment-tokens": ("TokenOut", "id"),
    "groups": ("GroupOut", "id"),
    "hardware-models": ("HardwareOut", "id"),
    "incidents": ("IncidentOut", "id"),
    "ledger": ("EntryOut", "id"),
    "releases": ("ReleaseOut", "id"),
    "rollouts": ("RolloutOut", "id"),
    "statements": ("StatementOut", "id"),
    "vendors": ("VendorOut", "id"),
}
#: examples of parameters that do not identify an object
WORDS: Mapping[str, object] = {"old": "120", "metric": "temp_c", "If-Match": '"d3"'}
#: descriptions of path parameters
_NAMED: Mapping[str, str] = {
    "public_id": "Its id.",
    "key_id": "SHA-1 of the CA's public key (RFC 5280, 4.2.1.2), in hex.",
    "fingerprint": "SHA-256 of the certificate, in hex.",
    "old": "Number of entries in the older tree.",
}
MOST_BYTES = 1 << 20
# untyped: our own JSON; the tests of the document check its shape
Json = Any
_ANSWERS = ("200", "201")


@cache
def given_examples() -> Json:
    """Return the examples from the file, by type name."""
    examples: Json = strict_json.read_json((Path(__file__).parent / "examples.json").read_bytes(), max_bytes=MOST_BYTES)
    return examples


def place_of_example(path: str) -> str:
    """Return a path below the API prefix, with ID for every id."""
    return re.sub(r"\{\w+\}", "ID", path.removeprefix(BELOW))


def add_examples(result: Json, **_: object) -> Json:
    """Add the examples to the document: a postprocessing hook of drf-spectacular."""
    held: dict[str, dict[str, object]] = {}
    schemas = result["components"]["schemas"]
    for path, method, operation in operations_of(result):
        bodies = [operation.get("requestBody", {}), *(operation["responses"].get(answer, {}) for answer in _ANSWERS)]
        for media in (media for body in bodies for media in body.get("content", {}).values()):
            name = _type_of(media["schema"]) or f"{method.upper()} {place_of_example(path)}"
            key = re.sub(r"\W+", "-", name)
            held.setdefault(key, {"value": composed_example(name, schemas)})
            media["examples"] = {key: {"$ref": f"#/components/examples/{key}"}}
        for parameter in operation.get("parameters", ()):
            _add_to_parameter(path, parameter)
    result["components"]["examples"] = dict(sorted(held.items()))
    return result


def operations_of(document: Json) -> Iterator[tuple[str, str, Json]]:
    """Yield path, method and operation of every operation in a document."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def composed_example(name: str, schemas: Json) -> Json:
    """Return the example of a type: its own example, and for each further member the example of the member's type."""
    given = given_examples().get(name.removeprefix("Patched"), {})
    if not isinstance(given, dict):
        return given
    example = dict(given)
    for member, schema in schemas.get(name, {}).get("properties", {}).items():
        if member in example:
            continue
        inner = _type_of(schema.get("items", schema))
        if inner and schemas[inner].get("type") == "object":
            value = composed_example(inner, schemas)
            example[member] = [value] if "items" in schema else value
    return {**example, "next": None} if name.endswith("Page") else example


def _type_of(schema: Json) -> str:
    return str(schema.get("$ref", "")).rpartition("/")[2]


def _add_to_parameter(path: str, parameter: Json) -> None:
    name = parameter["name"]
    if parameter["in"] == "path":
        parameter.setdefault("description", _NAMED[name])
        if name == "public_id":
            parameter["schema"]["format"] = "uuid"
    if parameter["in"] == "path" and name not in WORDS:
        type_name, field = THINGS[path.removeprefix(BELOW).partition("/")[0]]
        parameter["example"] = given_examples()[type_name][field]
    elif name in WORDS:
        parameter["example"] = WORDS[name]
