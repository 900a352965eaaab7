"""Bodies of the REST API: JSON, read as strictly as on every other server."""

from typing import IO, Any

from rest_framework import parsers
from rest_framework.exceptions import ParseError

from pki.kernel import intake, strict_json
from pki.kernel.errors import InvalidError

MAX_JSON = 1 << 20
#: of the upload of a bundle
BUNDLE_PARTS = frozenset({"manifest", "files"})


class StrictJSONParser(parsers.JSONParser):
    """JSON with each key once, numbers of 64 bits, bounded nesting, and text that can be stored."""

    def parse(self, stream: IO[bytes], media_type: str | None = None, parser_context: Any = None) -> Any:  # noqa: ARG002  because the interface is the library's
        """Return the value of a body.

        Raises:
            ParseError: it says what is wrong, and where.
        """
        try:
            return strict_json.read_json(stream.read(MAX_JSON + 1), max_bytes=MAX_JSON, max_depth=intake.MOST_DEPTH)
        except InvalidError as error:
            raise ParseError(error.detail) from error


def check_parts(data: Any, known: frozenset[str]) -> None:
    """Refuse a multipart body with parts that its view does not know.

    Raises:
        InvalidError: it names them.
    """
    if unknown := sorted(set(data) - known):
        names = ", ".join(intake.shown(name, 40) for name in unknown[:10])
        msg = f"Unknown parts: {names}. This resource takes: {', '.join(sorted(known))}."
        raise InvalidError(msg)
