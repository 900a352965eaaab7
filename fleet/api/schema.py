"""How the OpenAPI document is made: lists have their own names, and every refusal is in it."""

from drf_spectacular.openapi import AutoSchema
from rest_framework import serializers

from fleet.refusals import PROBLEM_TYPE, TITLES
from pki.kernel.errors import Kind

#: refusals that any request may get
ALWAYS = (400, 401, 403, 404, 405, 406, 413, 415, 422, 429, 500, 503)
#: refusals of requests that bring a body
OF_A_BODY = (409, 412, 428)


class FieldProblem(serializers.Serializer[object]):
    """What is wrong with one field."""

    pointer = serializers.CharField(help_text="JSON pointer (RFC 6901) to the field.")
    detail = serializers.CharField()


class Problem(serializers.Serializer[object]):
    """A refusal (RFC 9457)."""

    type = serializers.ChoiceField(choices=[f"urn:muster:problem:{kind}" for kind in Kind])
    title = serializers.CharField()
    status = serializers.IntegerField()
    detail = serializers.CharField(help_text="One sentence for people: what is wrong, and what to do next.")
    instance = serializers.CharField(required=False, help_text="Names the request in the server's log.")
    errors = serializers.ListField(child=FieldProblem(), required=False)  # type: ignore[assignment]  # a field, as the RFC's example names it


class Document(AutoSchema):
    """One operation of the document."""

    def get_operation_id(self) -> str:
        """Return the name of the operation; that of a list ends in ``list``."""
        name = str(super().get_operation_id())
        is_list = getattr(getattr(self.view, self.method.lower(), None), "is_list", False)
        return name.removesuffix("_retrieve") + "_list" if is_list else name

    def _get_response_bodies(self, direction: str = "response") -> dict[str, object]:
        """Return what the operation answers, refusals included."""
        found: dict[str, object] = super()._get_response_bodies(direction)  # type: ignore[arg-type]  # a literal there
        reference = self.resolve_serializer(Problem, "response").ref
        statuses = {*ALWAYS, *(OF_A_BODY if self.method != "GET" else ())}
        for status in sorted(statuses):
            body = {"content": {PROBLEM_TYPE: {"schema": reference}}, "description": TITLES[status]}
            found.setdefault(str(status), body)
        return found
