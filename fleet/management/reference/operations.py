"""Read groups, parameters, bodies and examples for the reference page from the OpenAPI document, without I/O."""

import json
import shlex
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fleet.api.lists import STORABLE

SERVER = "https://muster.example"
_BOUNDS = (("minimum", "at least {:,}"), ("maximum", "at most {:,}"), ("maxLength", "at most {:,} characters"),
           ("maxItems", "at most {:,} entries"))  # fmt: skip
# untyped: our own JSON document, whose structure other tests check
Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class DocumentedField:
    """A parameter, or a member of a body.

    Args:
        name: name of the parameter or member.
        place: path, query or body.
        form: type and bounds, in words.
        says: description; may be empty.
        required: whether it is required.
        usual: default value; may be empty.
    """

    name: str
    place: str
    form: str
    says: str
    required: bool
    usual: str


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation.

    Args:
        anchor: fragment identifier on the page.
        method: HTTP method.
        path: path with parameters in braces.
        says: description.
        roles: roles that can call it; empty for any role.
        fields: parameters, then members of the body.
        media: media types of the request body, the one of the example first; empty without a body.
        status: status of a successful response.
        answer: type of the response body; empty without a body.
        example: response as JSON; empty without a body.
        refusals: statuses of its error responses.
        curl: example call.
    """

    anchor: str
    method: str
    path: str
    says: str
    roles: Sequence[str]
    fields: Sequence[DocumentedField]
    media: Sequence[str]
    status: str
    answer: str
    example: str
    refusals: Sequence[str]
    curl: str


@dataclass(frozen=True, slots=True)
class OperationGroup:
    """The operations on one kind of object."""

    name: str
    operations: Sequence[Operation]


def grouped_operations(document: Json) -> list[OperationGroup]:
    """Return the operations of a document grouped by their first tag, in alphabetical order."""
    groups: defaultdict[str, list[Operation]] = defaultdict(list)
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            groups[operation["tags"][0]].append(_operation(document, path, method, operation))
    return [OperationGroup(name, groups[name]) for name in sorted(groups)]


def _operation(document: Json, path: str, method: str, operation: Json) -> Operation:
    content = operation.get("requestBody", {}).get("content", {})
    body: Json = next(iter(content.values()), {})
    status = next(code for code in operation["responses"] if code.startswith("2"))
    answer = operation["responses"][status].get("content", {}).get("application/json", {})
    roles = operation["x-roles"]
    return Operation(
        anchor=operation["operationId"].replace("_", "-"),
        method=method.upper(),
        path=path,
        says=operation["description"],
        roles=() if "viewer" in roles else roles,
        fields=[*_parameters(operation), *_members(document, body)],
        media=tuple(content),
        status=status,
        answer=_type_name(answer.get("schema", {})),
        example=json.dumps(_example(document, answer), indent=2, ensure_ascii=False) if answer else "",
        refusals=[code for code in operation["responses"] if not code.startswith("2")],
        curl=_curl(document, path, method, operation),
    )


def _example(document: Json, media: Json) -> object:
    reference = next(iter(media["examples"].values()))["$ref"]
    return document["components"]["examples"][reference.rpartition("/")[2]]["value"]


def _type_name(schema: Json) -> str:
    return str(schema.get("$ref", "")).rpartition("/")[2].removesuffix("Out")


def _parameters(operation: Json) -> Iterator[DocumentedField]:
    for given in sorted(operation.get("parameters", ()), key=lambda given: (given["in"] != "path", given["name"])):
        schema = given["schema"]
        says, usual = given.get("description", ""), schema.get("default", "")
        yield DocumentedField(given["name"], given["in"], _form(schema), says, given.get("required", False), str(usual))


def _members(document: Json, media: Json) -> Iterator[DocumentedField]:
    schema = _resolved(document, media.get("schema", {}))
    for name, member in schema.get("properties", {}).items():
        known = _resolved(document, member)
        says, usual = member.get("description", ""), member.get("default", known.get("default"))
        shown = "" if usual is None else json.dumps(usual)
        yield DocumentedField(name, "body", _form(known, document), says, name in schema.get("required", ()), shown)


def _resolved(document: Json, schema: Json) -> Json:
    for inner in (schema, *schema.get("allOf", ()), *schema.get("oneOf", ())):
        if "$ref" in inner:
            return dict(document["components"]["schemas"][inner["$ref"].rpartition("/")[2]])
    return schema


def _form(schema: Json, document: Json | None = None) -> str:
    """Return a type and its bounds in words."""
    if "enum" in schema:
        return "one of " + ", ".join(f"`{one}`" for one in schema["enum"])
    if "oneOf" in schema:
        return " or ".join(_form(one) for one in schema["oneOf"])
    kinds = schema.get("type", "any JSON value")
    kind = " or ".join(kinds) if isinstance(kinds, list) else str(kinds)
    if kind == "array":
        kind = f"array of {_form(_resolved(document or {}, schema['items']), document)}"
    words = [schema.get("format", kind) if kind == "string" else kind]
    words += [text.format(schema[name]) for name, text in _BOUNDS if name in schema]
    if schema.get("pattern", STORABLE) != STORABLE and "format" not in schema:
        words.append(f"matches `{schema['pattern']}`")
    return ", ".join(words)


def _curl(document: Json, path: str, method: str, operation: Json) -> str:
    """Return a curl command that calls an operation with its example values."""
    query, headers = [], ['-H "Authorization: Bearer $MUSTER_TOKEN"']
    for given in operation.get("parameters", ()):
        if given["in"] == "path":
            path = path.replace("{" + given["name"] + "}", str(given["example"]))
        elif given["in"] == "header":
            headers.append(f"-H {shlex.quote(given['name'] + ': ' + str(given['example']))}")
        elif given.get("required"):
            query.append(f"{given['name']}={given['example']}")
    words = ["curl"] + (["-X", method.upper()] if method != "get" else [])
    words += headers
    content = operation.get("requestBody", {}).get("content", {})
    media_type, media = next(iter(content.items()), ("", {}))
    if media_type == "multipart/form-data":
        words += ["-F manifest=@bundle.json", "-F 'files=@app.bin;filename=app.bin'"]
    elif media_type:
        body = json.dumps(_example(document, media), ensure_ascii=False)
        words += [f"-H 'Content-Type: {media_type}'", f"-d {shlex.quote(body)}"]
    address = SERVER + path + ("?" + "&".join(query) if query else "")
    return " ".join([*words, shlex.quote(address)])
