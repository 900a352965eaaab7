"""Keep the full path of an uploaded file as the client sent it: Django alone keeps only the last part.

The path only selects the entry of ``bundle.json`` that a file belongs to. No file is ever stored under this path.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from django.core.files.uploadedfile import TemporaryUploadedFile, UploadedFile
from django.core.files.uploadhandler import FileUploadHandler, TemporaryFileUploadHandler
from django.http import HttpRequest, QueryDict
from django.http.multipartparser import MultiPartParser

from pki.kernel import intake
from pki.kernel.errors import InvalidError

if TYPE_CHECKING:
    from django.utils.datastructures import MultiValueDict

    Parsed = tuple[QueryDict, MultiValueDict[str, UploadedFile[bytes]]]
#: longest path in the header of a part, in characters
MOST_PATH = 400


class SentFile(TemporaryUploadedFile):
    """A file on the disk, with the path that the client sent for it."""

    sent_as: str = ""


class PathUploadHandler(TemporaryFileUploadHandler):
    """Keep the sent path in addition to the name that Django derives from it."""

    def __init__(self, request: HttpRequest | None = None) -> None:
        super().__init__(request)
        self.sent_as = ""
        self._is_parsing = False
        self._begun: list[SentFile] = []

    def handle_raw_input(
        self,
        input_data: Any,  # untyped: a stream; Django's parser names another type of it than this hook
        META: dict[str, str],  # noqa: N803  because Django defines the interface
        content_length: int,  # noqa: ARG002  because Django defines the interface
        boundary: str,  # noqa: ARG002  because Django defines the interface
        encoding: str | None = None,
    ) -> "Parsed | None":
        """Parse the body with a parser that keeps paths, instead of the one that calls this."""
        if self._is_parsing:
            return None
        self._is_parsing = True
        parser = _PathParser(META, input_data, [self], encoding)
        parser.handler = self
        try:
            return parser.parse()
        except BaseException:
            for file in self._begun:  # Django closes only the last one
                file.close()
            raise

    def new_file(self, *args: Any, **kwargs: Any) -> None:  # untyped: as they come from Django's parser
        """Start a new file."""
        FileUploadHandler.new_file(self, *args, **kwargs)
        self.file = SentFile(self.file_name or "", self.content_type or "", 0, self.charset, self.content_type_extra)
        self.file.sent_as = self.sent_as
        self._begun.append(self.file)


class _PathParser(MultiPartParser):
    """Django's parser, extended to pass the sent name to the handler."""

    handler: PathUploadHandler

    def sanitize_file_name(self, file_name: str) -> str:
        """Return the name as Django keeps it; an empty result is rejected later because of its path."""
        self.handler.sent_as = file_name
        return super().sanitize_file_name(file_name) or "unnamed"


def files_by_path(files: Iterable["UploadedFile[bytes]"]) -> dict[str, BinaryIO]:
    """Return the files of an upload by the paths that ``bundle.json`` lists.

    Raises:
        InvalidError: a path is not printable, or appears twice.
    """
    found: dict[str, BinaryIO] = {}
    for file in files:
        path = intake.check_identifier(
            file.sent_as if isinstance(file, SentFile) else file.name, "files", most=MOST_PATH
        )
        if path in found:
            msg = (
                f"The file {intake.shown_name(path)!r} appears twice in the upload. Send each file in bundle.json once."
            )
            raise InvalidError(msg)
        found[path] = cast("BinaryIO", file.file)
    return found
