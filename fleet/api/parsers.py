"""Bodies of the REST API: JSON, read as strictly as on every other server."""

from typing import IO, BinaryIO, cast

from rest_framework import parsers
from rest_framework.exceptions import ParseError
from rest_framework.request import Request

from fleet.uploads import files_by_path
from pki.kernel import intake, strict_json
from pki.kernel.errors import InvalidError

MAX_JSON = 1 << 20
#: of the upload of a bundle
BUNDLE_PARTS = frozenset({"manifest", "files"})


class StrictJSONParser(parsers.JSONParser):
    """JSON with each key once, numbers of 64 bits, bounded nesting, and text that can be stored."""

    def parse(
        self,
        stream: IO[bytes],
        media_type: str | None = None,  # noqa: ARG002  because the interface is the library's
        parser_context: object = None,  # noqa: ARG002  because the interface is the library's
    ) -> dict[str, object]:
        """Return the value of a body.

        Raises:
            ParseError: it says what is wrong, and where.
        """
        try:
            body = strict_json.read_json(stream.read(MAX_JSON + 1), max_bytes=MAX_JSON, max_depth=intake.MOST_DEPTH)
        except InvalidError as error:
            raise ParseError(error.detail) from error
        return cast("dict[str, object]", body)  # a serializer refuses what is no map, in its own words


class MergePatchParser(StrictJSONParser):
    """A JSON Merge Patch (RFC 7396): for resources whose PATCH leaves alone what is not named."""

    media_type = "application/merge-patch+json"


def bundle_parts(request: Request) -> tuple[bytes, dict[str, BinaryIO]]:
    """Return ``bundle.json`` and the payloads of an upload, by the path that was sent for each.

    Raises:
        InvalidError: a part is unknown or missing, or a file's path is not printable or came twice.
    """
    if unknown := sorted(set(request.data) - BUNDLE_PARTS):
        names = ", ".join(intake.shown(name, 40) for name in unknown[:10])
        msg = f"Unknown parts: {names}. This resource takes: {', '.join(sorted(BUNDLE_PARTS))}."
        raise InvalidError(msg)
    manifest = request.FILES.get("manifest")
    if manifest is None or manifest.size is None or manifest.size > MAX_JSON:
        msg = "Send bundle.json as the part `manifest` and each payload as a part `files`."
        raise InvalidError(msg)
    return manifest.read(), files_by_path(request.FILES.getlist("files"))
