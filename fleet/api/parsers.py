"""Parse request bodies of the REST API: JSON, with the strict rules of every other listener."""

from typing import IO, BinaryIO, cast

from rest_framework import parsers
from rest_framework.exceptions import ParseError
from rest_framework.request import Request

from fleet.uploads import files_by_path
from pki.kernel import intake, strict_json
from pki.kernel.errors import InvalidError

MAX_JSON = 1 << 20
#: parts of a bundle upload
BUNDLE_PARTS = frozenset({"manifest", "files"})


class StrictJSONParser(parsers.JSONParser):
    """JSON with unique keys, 64-bit numbers, bounded nesting and storable text."""

    def parse(
        self,
        stream: IO[bytes],
        media_type: str | None = None,  # noqa: ARG002  because the library defines the interface
        parser_context: object = None,  # noqa: ARG002  because the library defines the interface
    ) -> dict[str, object]:
        """Return the value in a body.

        Raises:
            ParseError: the body is invalid; the message says what is wrong, and where.
        """
        try:
            body = strict_json.read_json(stream.read(MAX_JSON + 1), max_bytes=MAX_JSON, max_depth=intake.MOST_DEPTH)
        except InvalidError as error:
            raise ParseError(error.detail) from error
        return cast("dict[str, object]", body)  # a serializer rejects anything but a map, with its own message


class MergePatchParser(StrictJSONParser):
    """A JSON Merge Patch (RFC 7396): the PATCH leaves omitted members unchanged."""

    media_type = "application/merge-patch+json"


def bundle_parts(request: Request) -> tuple[bytes, dict[str, BinaryIO]]:
    """Return ``bundle.json`` and the payloads of an upload, by path.

    Raises:
        InvalidError: a part is unknown or missing, or a file's path is not printable or not unique.
    """
    if unknown := sorted(set(request.data) - BUNDLE_PARTS):
        names = ", ".join(intake.shown_name(name, 40) for name in unknown[:10])
        msg = f"Unknown parts: {names}. Expected parts: {', '.join(sorted(BUNDLE_PARTS))}."
        raise InvalidError(msg)
    manifest = request.FILES.get("manifest")
    if manifest is None or manifest.size is None or manifest.size > MAX_JSON:
        msg = "Part `manifest` is missing or exceeds 1 MiB. Send bundle.json as `manifest` and each payload as `files`."
        raise InvalidError(msg)
    return manifest.read(), files_by_path(request.FILES.getlist("files"))
