"""One grammar for names that people and programs give: what looks the same is the same, and nothing climbs.

Names go into paths, URLs and sentences. Windows drops trailing dots and spaces, URLs decode percent signs, and readers
do not see a space at an end: so none of them may be there.
"""

import re
import unicodedata

from pki.kernel.errors import InvalidError

LONGEST_PERSON = 60
#: marks that a person's name may hold between letters and digits
_MARKS = frozenset(" .'-_@\u2019")
_KINDS = frozenset({"Ll", "Lu", "Lt", "Lm", "Lo", "Mn", "Mc", "Nd"})
#: component, bundle id, secret and the like: what stands in target paths
SLUG = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,58}[a-z0-9_-])?")
_ENCODED = re.compile(r"%[0-9A-Fa-f]{2}")


def is_path_part(part: str) -> bool:
    """Say whether a part of a file's path means the same to every reader: no space or dot at an end, no ``%2e``."""
    return part not in {"", ".", ".."} and part == part.strip() and not part.endswith(".") and not _ENCODED.search(part)


def check_person(name: object) -> str:
    """Return a person's name: letters and digits of any script; spaces and ``.'-_@`` between them.

    Raises:
        InvalidError: it says what a name may hold.
    """
    if (
        not isinstance(name, str)
        or not 0 < len(name) <= LONGEST_PERSON
        or unicodedata.normalize("NFC", name) != name
        or not all(one in _MARKS or unicodedata.category(one) in _KINDS for one in name)
        or {name[0], name[-1]} & _MARKS
        or "  " in name
        or ".." in name
    ):
        shown = "".join(one if one.isprintable() else "?" for one in str(name)[:LONGEST_PERSON])
        msg = (
            f"The name {shown!r} is refused. A name has 1 to {LONGEST_PERSON} letters and digits; single spaces and "
            ". ' - _ @ may stand between them, not at an end."
        )
        raise InvalidError(msg)
    return name


def fold_person(name: str) -> str:
    """Return a name as people tell names apart: without case, kinds of spaces and compatibility forms."""
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())
