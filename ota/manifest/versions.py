"""Whether a version text looks older than another one. Pure.

A version is a text for people. What devices compare is the security counter; nothing is ordered by reading a version.
``looks_older`` is a guess for a warning, and says nothing when two texts are not written alike.
"""

import re
from itertools import zip_longest

#: what stands before the first number: a product, `release`, `v`
_BEGIN = re.compile(r"[^0-9~+]{0,40}(?=[0-9])")
#: words that say only that a version follows, and what stands between a product and its version
_EMPTY = re.compile(r"(?:^|[\s._-])(?:v|ver|version)$|[\s._-]+$")
#: what `git describe` appends: the hash of the commit says nothing of its age
_COMMIT = re.compile(r"-g[0-9a-f]{4,40}(?:-dirty)?$|-dirty$")
#: one letter right behind a number is a patch of it (OpenSSL's 1.1.1a), unless a number follows (1.0a1)
_TOKEN = re.compile(r"(?P<number>[0-9]+)|(?<=[0-9])(?P<patch>[A-Za-z])(?![A-Za-z0-9])|(?P<word>[A-Za-z]+|~)")
_DATE = re.compile(r"([0-9]{1,2})[./-]([0-9]{1,2})[./-]([0-9]{4})")
_HASH = re.compile(r"(?=[0-9a-f]*[a-f])[0-9a-f]{6,64}")
#: numbers of a build (+5, +b5, Debian's +dfsg1-2); anything else behind a plus has no order
_BUILD = re.compile(r"[A-Za-z]{0,10}[._-]?[0-9]{1,9}(?:[.-][0-9]{1,9})*")
#: words of a text that comes before the same text without them; Debian sorts ``~`` before everything
_BEFORE = {"~": 0, "dev": 1, "snapshot": 1, "alpha": 2, "a": 2, "beta": 3, "b": 3, "pre": 4, "preview": 4, "rc": 5}
#: words of a text that comes behind the same text without them
_AFTER = frozenset({"p", "patch", "post", "r", "sp", "hotfix"})
#: ranks behind the words above
_END, _WORD, _LETTER, _NUMBER = 10, 11, 12, 13
#: the end of a text, a word that says nothing of an order, and a 0, which says nothing at an end (1.0 and 1.0.0)
_ENDED, _UNKNOWN, _ZERO = (_END, 0), (_WORD, 0), (_NUMBER, 0)


def looks_older(version: str, before: str) -> bool:
    """Return whether a version text looks older than another one, as a person would read both.

    Args:
        version: of what comes.
        before: of what it follows.
    """
    coming, known = _read(version), _read(before)
    if coming is None or known is None or (coming[0] and known[0] and coming[0] != known[0]):
        return False
    for one, other in zip_longest(coming[1], known[1], fillvalue=_ENDED):
        if {one, other} == {_ENDED, _UNKNOWN}:
            return False  # 1.2.3-test may come before 1.2.3 or after it
        if one != other and {one, other} != {_ENDED, _ZERO}:
            return one < other
    return False


def _read(version: str) -> tuple[str, list[tuple[int, int]]] | None:
    """Return a version's word before the first number, then its tokens in an order; None without a number."""
    begin = _BEGIN.match(version)
    if begin is None or _HASH.fullmatch(version):
        return None
    text, _, build = version[begin.end() :].partition("+")
    if date := _DATE.fullmatch(text):
        text = f"{date[3]}.{date[2]}.{date[1]}"
    tokens = [_ranked(match) for match in _TOKEN.finditer(_COMMIT.sub("", text))]
    if _BUILD.fullmatch(build):
        tokens += [(_NUMBER, int(number)) for number in re.findall("[0-9]+", build)]
    word = begin[0].lower()
    while (shorter := _EMPTY.sub("", word)) != word:
        word = shorter
    return word, tokens


def _ranked(token: re.Match[str]) -> tuple[int, int]:
    """Return a token's rank: words before a release, the end, other words, letters behind a number, numbers."""
    if token["number"]:
        return _NUMBER, int(token["number"])
    if token["patch"]:
        return _LETTER, ord(token["patch"].lower())
    word = token["word"].lower()
    return (_LETTER if word in _AFTER else _BEFORE.get(word, _WORD)), 0
