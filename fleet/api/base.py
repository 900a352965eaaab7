"""What every view of the REST API shares: strict input, actors, pages."""

from typing import Any

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.views import APIView

from pki.kernel import intake
from pki.kernel.errors import InvalidError

MOST_INTEGER = 2**31 - 1
#: seconds that a wave may soak: a year
MOST_SOAK = 366 * 24 * 3600


class Text(serializers.CharField):
    """Free text of our own API: what cannot be stored is refused, directions and controls too, line ends are not."""

    def to_internal_value(self, data: str) -> str:
        """Return the text."""
        given = super().to_internal_value(data)
        if intake.cleaned(given, len(given))[1]:
            msg = "It holds a control character, a character of text direction, or none that can be stored. Remove it."
            raise serializers.ValidationError(msg)
        return str(given)


class Name(serializers.CharField):
    """A name or another identifier of our own API, in Unicode's composed form."""

    def to_internal_value(self, data: str) -> str:
        """Return the name."""
        try:
            return intake.identifier(super().to_internal_value(data), self.field_name or "item")
        except InvalidError as error:
            raise serializers.ValidationError(error.detail) from error


class Input(serializers.Serializer[object]):
    """An input body; a field that it does not know is an error."""

    def to_internal_value(self, data: object) -> object:
        """Refuse unknown fields, then read the known ones."""
        if isinstance(data, dict) and (unknown := set(data) - set(self.fields)):
            raise serializers.ValidationError({name: ["This field is unknown."] for name in sorted(unknown)})
        return super().to_internal_value(data)


class Output(serializers.Serializer[object]):
    """An output body."""


class Nothing(Input):
    """A body without fields."""


class ReasonIn(Input):
    """Why something is done."""

    reason = Text(max_length=300)


def read(request: Request, shape: type[Input]) -> dict[str, Any]:  # untyped: what its field has made of it
    """Return the checked fields of a request's body."""
    given = shape(data=request.data)
    given.is_valid(raise_exception=True)
    return dict(given.validated_data)


class View(APIView):
    """A view; services decide who may."""
