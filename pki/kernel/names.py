"""One grammar for names from people and programs: equal appearance means equal name, without path traversal.

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
#: letters and marks that are not seen (Unicode's Default_Ignorable_Code_Point), beside the category Cf
_UNSEEN = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u3164\uffa0") | frozenset(
    chr(number) for span in (range(0xFE00, 0xFE10), range(0xE0100, 0xE01F0)) for number in span
)
#: scripts whose letters look like those of one another; within a word of a name there is one of them
_ALIKE = frozenset({"LATIN", "CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE", "COPTIC"})
#: letters that look like one of another script, after case folding (after Unicode's confusables, UTS #39)
_TWINS = str.maketrans(
    "\u0430\u0432\u0435\u043a\u043c\u043d\u043e\u0440\u0441\u0442\u0443\u0445\u0455\u0456\u0458\u04bb\u0501\u051b\u051d"
    "\u03b1\u03b2\u03b5\u03b6\u03b7\u03b9\u03ba\u03bc\u03bd\u03bf\u03c1\u03c4\u03c5\u03c7\u0131\u0251\u0261\u2019",
    "abekmhopctyxsijhdqwabezhikmnoptyxiag'",
)
#: component, bundle id, secret and the like: what is in target paths
SLUG = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,58}[a-z0-9_-])?")
#: dots, slashes and backslashes as URLs escape them
_ESCAPED = re.compile(r"%(?:2[eEfF]|5[cC])")
_ENDS = "".join(_MARKS)
#: characters of a version, and bytes of it in UTF-8: with a CoAP option of 255 bytes devices fetch what it names
LONGEST_VERSION, LARGEST_VERSION = 64, 200
_ENCODED = re.compile(r"%[0-9A-Fa-f]{2}")


def is_path_part(part: str) -> bool:
    """Return whether a part of a file's path means the same to every reader: no space or dot at an end, no ``%2e``."""
    return part not in {"", ".", ".."} and part == part.strip() and not part.endswith(".") and not _ENCODED.search(part)


def wrong_version(version: str) -> str:
    """Return why a text is no version, or nothing when it is one.

    A version is a text for people, and a part of the path of a signed target: printable, and without separators.
    """
    if not 0 < len(version) <= LONGEST_VERSION or len(version.encode("utf-8", "replace")) > LARGEST_VERSION:
        return f"it must have 1 to {LONGEST_VERSION} characters and at most {LARGEST_VERSION} bytes of UTF-8"
    if not version.isprintable() or "\ufffd" in version or not _UNSEEN.isdisjoint(version):
        return "it contains an unprintable or invisible character, or U+FFFD (undecodable bytes)"
    if unicodedata.normalize("NFC", version) != version:
        return "it is not in Unicode's composed form (NFC)"
    if version != version.strip() or version in {".", ".."}:
        return "it begins or ends with a space, or is only a dot or two"
    if "/" in version or "\\" in version or _ESCAPED.search(version):
        why = "it holds a slash, a backslash or an escape as %2F, and is a part of the path that officers sign"
        return f"{why}; write a dash instead"
    return ""


def check_person(name: object) -> str:
    """Return a person's name: letters and digits of any script; spaces and ``.'-_@`` between them.

    Raises:
        InvalidError: it says what a name may hold.
    """
    if (
        not isinstance(name, str)
        or not 0 < len(name) <= LONGEST_PERSON
        or unicodedata.normalize("NFKC", name) != name
        or not all(
            character in _MARKS or (unicodedata.category(character) in _KINDS and character not in _UNSEEN)
            for character in name
        )
        or any(len(_scripts(word)) > 1 for word in name.split())
        or {name[0], name[-1]} & _MARKS
        or "  " in name
        or ".." in name
    ):
        shown = "".join(character if character.isprintable() else "?" for character in str(name)[:LONGEST_PERSON])
        msg = (
            f"The name {shown!r} is refused. Use 1 to {LONGEST_PERSON} letters and digits. Single spaces and . ' - _ @ "
            "are allowed between them. Do not mix scripts in a word."
        )
        raise InvalidError(msg)
    return name


def fold_person(name: str) -> str:
    """Return a name as people distinguish names: without case, unseen characters, kinds of spaces and of letters."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    seen = "".join(
        character
        for character in folded
        if character not in _UNSEEN and unicodedata.category(character) not in {"Cf", "Cc"}
    )
    return " ".join(seen.translate(_TWINS).strip(_ENDS).split())


def _scripts(word: str) -> set[str]:
    """Return which of the scripts that look alike the letters of a word are of."""
    return {unicodedata.name(character, "").partition(" ")[0] for character in word} & _ALIKE
