"""Which names a bundle's files may have, and how such a name becomes a part of a URL. Pure.

A name goes from an author's folder through a multipart form into ``bundle.json``, and from there into links that
SWUpdate passes to libcurl, through proxies, and back to a folder of an officer. All of them must read a name alike.
"""

import unicodedata
from collections.abc import Iterable
from urllib.parse import quote

from ota.errors import ManifestError
from pki.kernel.names import is_path_part

#: bytes of UTF-8; percent-quoted, a link stays below a thousand characters
MOST_BYTES = 200
MANIFEST = "bundle.json"
#: SWUpdate's hawkBit client silently skips files with other names
SWU = ".swu"
_NOT_PRINTABLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def check_path(path: str) -> str:
    """Return the path of a file in a bundle, when every client can fetch it.

    Raises:
        ManifestError: the sentence says what is wrong with it.
    """
    if why := _wrong(path):
        msg = f"bundle.json: the path {path[:60]!r} is refused: {why}. Rename the file."
        raise ManifestError(msg)
    return path


def check_paths(paths: Iterable[str]) -> None:
    """Refuse paths that cannot be in one folder together: equal but for case, or a file below a file.

    Raises:
        ManifestError: it names one of them.
    """
    known: set[str] = set()
    for path in paths:
        folded = path.casefold()
        if folded in known:
            msg = f"bundle.json: the path {path[:60]!r} appears twice in files. Remove or rename one of the two."
            raise ManifestError(msg)
        known.add(folded)
    for path in known:
        parts = path.split("/")
        above = {"/".join(parts[:length]) for length in range(1, len(parts))}
        if both := above & known:
            msg = f"bundle.json: {min(both)[:60]!r} is a file, and {path[:60]!r} lies below it. Rename one of the two."
            raise ManifestError(msg)


def quote_path(path: str) -> str:
    """Return a path in the form for URLs: UTF-8, everything but unreserved characters and ``/`` quoted (RFC 3986)."""
    return quote(path, safe="/")


def content_disposition(path: str) -> str:
    """Return the Content-Disposition of a download (RFC 6266): the last part of its path, in ASCII and as it is."""
    name = path.rsplit("/", 1)[-1]
    plain = "".join(char if char.isascii() and (char.isalnum() or char in "._-") else "_" for char in name)
    if plain == name:
        return f"attachment;filename={name}"
    return f"attachment;filename=\"{plain}\";filename*=UTF-8''{quote(name, safe='')}"


def _wrong(path: str) -> str:
    if len(path.encode("utf-8", "surrogatepass")) > MOST_BYTES:
        return f"it is longer than {MOST_BYTES} bytes of UTF-8"
    if any(unicodedata.category(char) in _NOT_PRINTABLE for char in path):
        return "it holds a character that is not printable"
    if unicodedata.normalize("NFC", path) != path:
        return "its characters are not in Unicode's composed form (NFC)"
    if "\\" in path or '"' in path:
        return "it holds a backslash or a double quote, which clients change on the way"
    if path.casefold() == MANIFEST:
        return f"{MANIFEST} is the name of the document that lists the files"
    return next((why for part in path.split("/") if (why := _wrong_part(part))), "")


def _wrong_part(part: str) -> str:
    """Return what is wrong with one name between slashes."""
    if part in {"", ".", ".."}:
        return "it must be relative, without empty parts, `.` and `..`"
    if is_path_part(part):
        return ""
    return "no part of it may begin or end with a space, end with a dot, or have percent-encoded characters"
