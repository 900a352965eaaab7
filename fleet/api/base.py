"""What every view of the REST API shares: strict input, actors, pages."""

from typing import Any

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.views import APIView


class Input(serializers.Serializer[Any]):
    """An input body; a field that it does not know is an error."""

    def to_internal_value(self, data: Any) -> Any:
        """Refuse unknown fields, then read the known ones."""
        if isinstance(data, dict) and (unknown := set(data) - set(self.fields)):
            raise serializers.ValidationError({name: ["This field is unknown."] for name in sorted(unknown)})
        return super().to_internal_value(data)


class Output(serializers.Serializer[Any]):
    """An output body."""


class Nothing(Input):
    """A body without fields."""


class ReasonIn(Input):
    """Why something is done."""

    reason = serializers.CharField(max_length=300)


def read(request: Request, shape: type[Input]) -> dict[str, Any]:
    """Return the checked fields of a request's body."""
    given = shape(data=request.data)
    given.is_valid(raise_exception=True)
    return dict(given.validated_data)


class View(APIView):
    """A view; services decide who may."""
