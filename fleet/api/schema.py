"""Generate the OpenAPI document: lists have their own operation names, and every error response is included."""

from typing import Any

from drf_spectacular.openapi import AutoSchema
from rest_framework import serializers

from fleet.api.base import Input
from fleet.api.examples import place_of_example
from fleet.api.roles import roles_of
from fleet.refusals import PROBLEM_TYPE, TITLES
from pki.kernel.errors import ErrorKind

#: errors that any request can cause
ALWAYS = (400, 401, 403, 404, 405, 406, 413, 415, 422, 429, 500, 503)
#: errors that a request with a body can cause
OF_A_BODY = (409, 412, 428)


class FieldProblem(serializers.Serializer[object]):
    """An error in one field."""

    pointer = serializers.CharField(help_text="JSON pointer (RFC 6901) to the field.")
    detail = serializers.CharField()


class Problem(serializers.Serializer[object]):
    """An error (RFC 9457)."""

    type = serializers.ChoiceField(choices=[f"urn:muster:problem:{kind}" for kind in ErrorKind])
    title = serializers.CharField()
    status = serializers.IntegerField()
    detail = serializers.CharField(help_text="Explanation for people: what is wrong, and what to do next.")
    instance = serializers.CharField(required=False, help_text="Id of the request in the server log.")
    errors = serializers.ListField(child=FieldProblem(), required=False)  # type: ignore[assignment]  # a field, as the RFC's example names it


def _demand_text(field: object, schema: dict[str, Any]) -> None:  # untyped: JSON of our own
    """Set ``minLength`` for a text field that rejects empty values."""
    if isinstance(field, serializers.ListField | serializers.DictField):
        inner = schema.get("items", schema.get("additionalProperties", {}))
        _demand_text(field.child, inner)
    elif isinstance(field, serializers.CharField) and not field.allow_blank and schema.get("type") == "string":
        schema["minLength"] = 1


class Document(AutoSchema):
    """One operation of the document."""

    def get_operation_id(self) -> str:
        """Return the operation's name; the name of a list ends in ``list``."""
        name = str(super().get_operation_id())
        is_list = getattr(getattr(self.view, self.method.lower(), None), "is_list", False)
        return name.removesuffix("_retrieve") + "_list" if is_list else name

    def _map_basic_serializer(self, serializer: object, direction: str) -> dict[str, object]:
        """Return the schema of a serializer; the schema of an input allows no additional members."""
        # untyped: the library has no types here
        schema: dict[str, Any] = super()._map_basic_serializer(serializer, direction)  # type: ignore[no-untyped-call]  # the library's
        if isinstance(serializer, Input) and schema.get("properties"):
            schema["additionalProperties"] = False
            for name, field in serializer.fields.items():
                _demand_text(field, schema["properties"][name])
        return schema

    def get_extensions(self) -> dict[str, object]:
        """Return the extension that lists the roles that may call the operation."""
        return {"x-roles": roles_of(f"{self.method} {place_of_example(self.path)}")}

    def _get_response_bodies(self, direction: str = "response") -> dict[str, object]:
        """Return the responses of the operation, error responses included."""
        bodies: dict[str, object] = super()._get_response_bodies(direction)  # type: ignore[arg-type]  # a literal there
        reference = self.resolve_serializer(Problem, "response").ref
        statuses = {*ALWAYS, *(OF_A_BODY if self.method != "GET" else ())}
        for status in sorted(statuses):
            body = {"content": {PROBLEM_TYPE: {"schema": reference}}, "description": TITLES[status]}
            bodies.setdefault(str(status), body)
        return bodies
