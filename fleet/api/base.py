"""What every view of the REST API shares: strict input, query parameters that it has declared, nothing else."""

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
from pki.kernel.filters import Criterion, Form, NoFilter, criteria_of, parse_filter

#: query parameters of every list besides its filter
PAGE_PARAMETERS = ("limit", "cursor", "count")
MOST_INTEGER = 2**31 - 1
#: seconds that a wave may soak: a year
MOST_SOAK = 366 * 24 * 3600


class _Bounded(serializers.CharField):
    """A text whose length counts as it was sent; the framework would take spaces off first."""

    def run_validation(self, data: object = empty) -> str:
        """Return the text; one that is too long is refused."""
        if isinstance(data, str) and self.max_length is not None and len(data) > self.max_length:
            self.fail("max_length", max_length=self.max_length)
        found: str = super().run_validation(data)
        return found


class Text(_Bounded):
    """Free text of our own API: what cannot be stored is refused, directions and controls too, line ends are not."""

    def to_internal_value(self, data: str) -> str:
        """Return the text."""
        given = super().to_internal_value(data)
        if intake.cleaned(given, len(given))[1]:
            msg = "It holds a control character, a character of text direction, or none that can be stored. Remove it."
            raise serializers.ValidationError(msg)
        return str(given)


class Name(_Bounded):
    """A name or another identifier of our own API, in Unicode's composed form."""

    def to_internal_value(self, data: str) -> str:
        """Return the name."""
        try:
            return intake.identifier(super().to_internal_value(data), self.field_name or "item")
        except InvalidError as error:
            raise serializers.ValidationError(error.detail) from error


#: kinds of fields, and the JSON type that each takes: the framework would read `0` as false and `7` as text
JSON_TYPES: tuple[tuple[tuple[type[object], ...], type[object], str], ...] = (
    ((serializers.BooleanField,), bool, "true or false"),
    ((serializers.IntegerField,), int, "a whole number"),
    ((serializers.CharField, serializers.ChoiceField, serializers.UUIDField), str, "text"),
)


#: values of a list whose type is looked at: longer ones are refused for their length; and errors told of one field
MOST_LOOKED_AT, MOST_ERRORS = 10_000, 20


# untyped: fields have no common child, and an error is a list of texts or a map of errors
def type_error(field: Any, value: object) -> Any:
    """Return what is wrong with the JSON type of a field's value, by place where it has several; nothing if it fits."""
    if value is None:
        return None  # the field itself decides whether it may be null
    if isinstance(field, serializers.ListField) and isinstance(value, list):
        return _errors_within(field, {str(place): one for place, one in enumerate(value[:MOST_LOOKED_AT])})
    if isinstance(field, serializers.DictField) and isinstance(value, dict):
        return _errors_within(field, value)
    for kinds, wanted, word in JSON_TYPES:
        if isinstance(field, kinds):
            return None if type(value) is wanted else [f"Give {word}, not {value!r:.40}."]
    return None


# untyped: as above
def _errors_within(field: Any, inner: Mapping[str, object]) -> Any:
    """Return the first errors of a list's or a map's values, by place."""
    wrong = ((name, error) for name, one in inner.items() if (error := type_error(field.child, one)))
    return dict(islice(wrong, MOST_ERRORS)) or None


class Input(serializers.Serializer[object]):
    """An input body; a field that it does not know is an error."""

    def to_internal_value(self, data: object) -> object:
        """Refuse unknown fields and values of another JSON type, then read the known ones."""
        if isinstance(data, dict):
            if unknown := set(data) - set(self.fields):
                raise serializers.ValidationError({name: ["This field is unknown."] for name in sorted(unknown)})
            wrong = {name: error for name, value in data.items() if (error := type_error(self.fields[name], value))}
            if wrong:
                raise serializers.ValidationError(wrong)
        return super().to_internal_value(data)


class Output(serializers.Serializer[object]):
    """An output body."""


class Nothing(Input):
    """A body without fields."""


class ReasonIn(Input):
    """Why something is done."""

    reason = Text(max_length=300, help_text="Why; it stands in the audit log.")


def read(request: Request, shape: type[Input]) -> dict[str, Any]:  # untyped: what its field has made of it
    """Return the checked fields of a request's body."""
    given = shape(data=request.data)
    given.is_valid(raise_exception=True)
    return dict(given.validated_data)


_Handler = TypeVar("_Handler", bound=Callable[..., Response])


def takes_query(shape: type[object], *further: str) -> Callable[[_Handler], _Handler]:
    """Declare the query parameters of an operation; without it an operation has none.

    Args:
        shape: the filter whose fields they are.
        further: names that something else than the filter reads, such as those of pages.
    """

    def marked(handler: _Handler) -> _Handler:
        handler.query_shape = shape  # type: ignore[attr-defined]  # read by `View.initial` and by `fleet.api.schema`
        handler.query_further = further  # type: ignore[attr-defined]  # the same
        return handler

    return marked


class View(APIView):
    """A view; services decide who may.

    Attributes:
        asked: the filter that the address asks for, as the operation has declared it by ``takes_query``.
    """

    # untyped: the filter of whichever operation is called
    asked: Any = NoFilter()
    #: the methods that the document may have, and HEAD; OPTIONS would describe serializers that the document describes
    http_method_names = ["get", "head", "post", "put", "patch", "delete"]

    def initial(self, request: Request, *args: object, **kwargs: object) -> None:
        """Refuse query parameters that the operation does not have, after it is known who asks.

        Raises:
            InvalidError: a parameter is unknown or given twice, or has no such value; the sentence says what can stand.
        """
        super().initial(request, *args, **kwargs)
        method = str(request.method).lower()
        if method not in self.http_method_names or not hasattr(self, method):
            return  # there is no such operation: what comes next says which methods there are
        handler = getattr(self, method)
        shape, further = getattr(handler, "query_shape", NoFilter), getattr(handler, "query_further", ())
        given = dict(request.query_params.lists())
        self.asked = parse_filter(shape, given, further)
        _refuse_empty(given, criteria_of(shape))


def _refuse_empty(given: Mapping[str, Sequence[str]], known: Mapping[str, Criterion]) -> None:
    """Refuse an empty value where only text may be empty; forms of the console send such, programs never mean it."""
    for name, values in given.items():
        form = known[name].form if name in known else None
        if values == [""] and form not in {Form.TEXT, Form.QUERY, Form.REFERENCE}:
            msg = f"The parameter `{name}` is empty. Leave it out, or give it a value."
            raise InvalidError(msg)


def asked_of(request: Request) -> Any:  # untyped: the filter of whichever operation is called
    """Return the filter that the address of a request asks for, as its view has read it."""
    return request.parser_context["view"].asked
