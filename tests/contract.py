"""Every answer of the REST API in the whole test suite is compared with the OpenAPI document.

A middleware that the test settings put in front of all others: an answer of ``/api/v1`` that the committed document
does not allow - a status, a media type, a field - fails the test that asked. The terminal says how many were compared.

The document lets clients expect further members in later versions. Here it is closed: a member that it does not
describe fails, also within the documents that an answer contains.
"""

import json
import re
from functools import cache

from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from tests.architecture.sources import ROOT

DOCUMENT = ROOT / "docs/reference/openapi.json"
#: any path below the API may be asked for with any method; what the document does not have is refused so
UNDOCUMENTED = {400, 401, 404, 405, 406, 413, 415}
compared = {"answers": 0}


class AnswerError(AssertionError):
    """An answer that the document does not allow."""


class AnswersAsDocumented:
    """Compare what goes out with the document."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        response = self.get_response(request)
        if request.path.startswith("/api/v1/") and request.path != "/api/v1/openapi.json":
            check_answer(request.method, request.path, response)
        return response


@cache
def _document():
    return closed(json.loads(DOCUMENT.read_text()))


def closed(schema):
    """Return a document in which every object that has described members allows no others."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: closed(inner) for name, inner in schema.items()}
    is_object = schema.get("type") == "object" and isinstance(schema.get("properties"), dict)
    return {"additionalProperties": False, **found} if is_object else found


@cache
def _validator(pointer):
    root = Resource.from_contents(_document(), default_specification=DRAFT202012)
    registry = Registry().with_resource("urn:openapi", root)
    return Draft202012Validator({"$ref": f"urn:openapi#{pointer}"}, registry=registry)


def _pointer(*parts):
    return "".join(
        "/" + part.replace("~", "~0").replace("/", "~1").replace("{", "%7B").replace("}", "%7D") for part in parts
    )


@cache
def _patterns():
    """Return (pattern of a path, template, operations); paths without places come first."""
    paths = sorted(_document()["paths"].items(), key=lambda one: one[0].count("{"))
    return [(re.compile(re.sub(r"\{\w+\}", "[^/]+", path)), path, operations) for path, operations in paths]


def _operation(method, path):
    """Return path template and operation that the document has for a request, or nothing."""
    for pattern, template, operations in _patterns():
        if pattern.fullmatch(path) and method.lower() in operations:
            return template, operations[method.lower()]
    return None


def check_answer(method, path, response):
    """Raise if the document does not allow an answer."""
    compared["answers"] += 1
    status, said = response.status_code, f"{method} {path}: {response.status_code}"
    found = _operation("GET" if method == "HEAD" else method, path)
    if found is None:
        if status not in UNDOCUMENTED:
            raise AnswerError(f"{said}, and the document knows no such operation")
        return
    template, operation = found
    answers = operation["responses"]
    if str(status) not in answers:
        raise AnswerError(f"{said} is not among the documented {sorted(answers)}: {response.content[:300]!r}")
    _check_body(said, ("paths", template, method.lower(), "responses", str(status)), answers[str(status)], response)


def _check_body(said, place, answer, response):
    kind = response.get("Content-Type", "").partition(";")[0]
    kinds = answer.get("content", {})
    if not kinds and response.content:
        raise AnswerError(f"{said} has a body, and the document none")
    if kinds and kind not in kinds:
        raise AnswerError(f"{said} is {kind}, documented {sorted(kinds)}")
    if response.content:  # HEAD has none
        pointer = _pointer(*place, "content", kind, "schema")
        wrong = next(_validator(pointer).iter_errors(json.loads(response.content)), None)
        if wrong:
            where = "/".join(map(str, wrong.absolute_path))
            raise AnswerError(f"{said}, at /{where}: {wrong.message[:500]}")
