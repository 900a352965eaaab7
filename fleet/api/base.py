"""What every view of the REST API shares: strict request bodies and declared query parameters only."""

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar

from rest_framework import serializers
from rest_framework.fields import empty
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from pki.kernel import intake
from pki.kernel.errors import InvalidError
from pki.kernel.filters import NoFilter, parse_filter

#: query parameters of every list, in addition to its filter
PAGE_PARAMETERS = ("limit", "cursor", "count")
MOST_INTEGER = 2**31 - 1
#: longest soak time of a wave, in seconds: one year
MOST_SOAK = 366 * 24 * 3600


class _Bounded(serializers.CharField):
    """A text field that checks the length of the text as received; the framework would strip spaces first."""

    def run_validation(self, data: object = empty) -> str:
        """Return the text, or reject it if it is too long."""
        if isinstance(data, str) and self.max_length is not None and len(data) > self.max_length:
            self.fail("max_length", max_length=self.max_length)
        text: str = super().run_validation(data)
        return text


class Text(_Bounded):
    """Free text. It rejects characters that cannot be stored, control characters and text-direction characters.

    Line ends are allowed.
    """

    def to_internal_value(self, data: str) -> str:
        """Return the text."""
        given = super().to_internal_value(data)
        if intake.clean_text(given, len(given))[1]:
            msg = "The text contains a control, text-direction or unsupported character. Remove it."
            raise serializers.ValidationError(msg)
        return str(given)


class Name(_Bounded):
    """A name or another identifier, normalised to Unicode NFC."""

    def to_internal_value(self, data: str) -> str:
        """Return the name."""
        try:
            return intake.check_identifier(super().to_internal_value(data), self.field_name or "item")
        except InvalidError as error:
            raise serializers.ValidationError(error.detail) from error


#: field types, and the JSON type that each accepts: the framework alone would read `0` as false and `7` as text
JSON_TYPES: tuple[tuple[tuple[type[object], ...], type[object], str], ...] = (
    ((serializers.BooleanField,), bool, "true or false"),
    ((serializers.IntegerField,), int, "a whole number"),
    ((serializers.CharField, serializers.ChoiceField, serializers.UUIDField), str, "text"),
)


#: list values whose type is checked (longer lists fail their length check), and errors reported per field
MOST_LOOKED_AT, MOST_ERRORS = 10_000, 20


# untyped: fields have no common child, and an error is a list of texts or a map of errors
def type_error(field: Any, value: object) -> Any:
    """Return what is wrong with the JSON type of a field's value, by position if it has several; None if valid."""
    if value is None:
        return None  # the field itself decides whether null is allowed
    if isinstance(field, serializers.ListField) and isinstance(value, list):
        return _errors_within(field, {str(index): one for index, one in enumerate(value[:MOST_LOOKED_AT])})
    if isinstance(field, serializers.DictField) and isinstance(value, dict):
        return _errors_within(field, value)
    for kinds, wanted, word in JSON_TYPES:
        if isinstance(field, kinds):
            return None if type(value) is wanted else [f"Expected {word}, got {value!r:.40}."]
    return None


# untyped: as above
def _errors_within(field: Any, inner: Mapping[str, object]) -> Any:
    """Return the first errors in the values of a list or map, by position or key."""
    wrong = ((name, error) for name, one in inner.items() if (error := type_error(field.child, one)))
    return dict(islice(wrong, MOST_ERRORS)) or None


class Input(serializers.Serializer[object]):
    """A request body; an unknown field is an error."""

    def to_internal_value(self, data: object) -> object:
        """Reject unknown fields and values of a wrong JSON type, then read the fields."""
        if isinstance(data, dict):
            if unknown := set(data) - set(self.fields):
                raise serializers.ValidationError({name: ["Unknown field. Remove it."] for name in sorted(unknown)})
            wrong = {name: error for name, value in data.items() if (error := type_error(self.fields[name], value))}
            if wrong:
                raise serializers.ValidationError(wrong)
        return super().to_internal_value(data)


class Output(serializers.Serializer[object]):
    """A response body."""


class Nothing(Input):
    """An empty request body."""


class ReasonIn(Input):
    """The reason for an action."""

    reason = Text(max_length=300, help_text="Reason for the action. It is recorded in the audit log.")


def read_fields(
    request: Request, shape: type[Input]
) -> dict[str, Any]:  # untyped: each value has the type of its field
    """Return the validated fields of a request body."""
    given = shape(data=request.data)
    given.is_valid(raise_exception=True)
    return dict(given.validated_data)


_Handler = TypeVar("_Handler", bound=Callable[..., Response])


def takes_query(shape: type[object], *further: str) -> Callable[[_Handler], _Handler]:
    """Declare the query parameters of an operation; without this decorator, an operation accepts none.

    Args:
        shape: the filter whose fields are the parameters.
        further: parameters that are read elsewhere, such as those for pagination.
    """

    def marked(handler: _Handler) -> _Handler:
        handler.query_shape = shape  # type: ignore[attr-defined]  # read by `View.initial` and by `fleet.api.schema`
        handler.query_further = further  # type: ignore[attr-defined]  # the same
        return handler

    return marked


class View(APIView):
    """A view of the REST API. Services, not views, check permissions.

    Attributes:
        asked: the filter in the query string, as declared with ``takes_query``.
    """

    # untyped: the filter of the operation that is called
    asked: Any = NoFilter()
    #: the methods in the OpenAPI document, and HEAD; OPTIONS would only repeat what the document describes
    http_method_names = ["get", "head", "post", "put", "patch", "delete"]

    def initial(self, request: Request, *args: object, **kwargs: object) -> None:
        """Reject query parameters that the operation does not declare, after authentication.

        Raises:
            InvalidError: a parameter is unknown, repeated or has an invalid value; the message lists the valid values.
        """
        super().initial(request, *args, **kwargs)
        method = str(request.method).lower()
        if method not in self.http_method_names or not hasattr(self, method):
            return  # no such operation: the framework answers 405 with the allowed methods
        handler = getattr(self, method)
        shape, further = getattr(handler, "query_shape", NoFilter), getattr(handler, "query_further", ())
        given = dict(request.query_params.lists())
        self.asked = parse_filter(shape, given, further)
        _refuse_empty(given)


def _refuse_empty(given: Mapping[str, Sequence[str]]) -> None:
    """Reject an empty value: it comes from a variable that a program did not set, and would select everything.

    Console forms send empty values, so that this is not part of ``parse_filter``.
    """
    for name, values in given.items():
        if values == [""]:
            msg = f"The parameter `{name}` is empty. Give it a value, or omit it."
            raise InvalidError(msg)


def asked_of(request: Request) -> Any:  # untyped: the filter of the operation that is called
    """Return the filter that the view has parsed from the query string of a request."""
    return request.parser_context["view"].asked
