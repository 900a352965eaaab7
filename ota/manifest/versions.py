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
_TOKEN = re.compile(r"[0-9]+|(?<=[0-9])[a-z](?![A-Za-z0-9])|[A-Za-z]+|~")
_HASH = re.compile(r"(?=[0-9a-f]*[a-f])[0-9a-f]{6,64}")
_BUILD = re.compile(r"[A-Za-z]{0,10}[._-]?([0-9]{1,9})")
#: words of a text that comes before the same text without them; Debian sorts ``~`` before everything
_BEFORE = {"~": 0, "dev": 1, "snapshot": 1, "alpha": 2, "a": 2, "beta": 3, "b": 3, "pre": 4, "preview": 4, "rc": 5}
#: ranks behind the words above; a number of 0 at the end says nothing (1.0 and 1.0.0)
_END, _WORD, _LETTER, _NUMBER = 10, 11, 12, 13


def looks_older(version: str, before: str) -> bool:
    """Say whether a version text looks older than another one, as a person would read both.

    Args:
        version: of what comes.
        before: of what it follows.
    """
    coming, known = _read(version), _read(before)
    if coming is None or known is None or (coming[0] and known[0] and coming[0] != known[0]):
        return False
    pairs = zip_longest(coming[1], known[1], fillvalue=(_END, 0))
    return next((one < other for one, other in pairs if one != other and not _are_zero(one, other)), False)


def _are_zero(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Say whether one text has a 0 where the other one has ended."""
    return {one, other} == {(_END, 0), (_NUMBER, 0)}


def _read(version: str) -> tuple[str, list[tuple[int, int]]] | None:
    """Return a version's word before the first number, then its tokens in an order; None without a number."""
    begin = _BEGIN.match(version)
    if begin is None or _HASH.fullmatch(version):
        return None
    text, _, build = version[begin.end() :].partition("+")
    tokens = [_ranked(one, alone) for one, alone in _tokens(_COMMIT.sub("", text))]
    if numbered := _BUILD.fullmatch(build):
        tokens.append((_NUMBER, int(numbered[1])))
    word = begin[0].lower()
    while (shorter := _EMPTY.sub("", word)) != word:
        word = shorter
    return word.removesuffix("v") if word == "v" else word, tokens


def _tokens(text: str) -> list[tuple[str, bool]]:
    """Return words and numbers, and of each whether it is one letter right behind a number."""
    found = []
    for match in _TOKEN.finditer(text):
        behind = match.start() > 0 and text[match.start() - 1].isdigit()
        ends = match.end() == len(text) or not text[match.end()].isalnum()
        found.append((match[0], behind and ends and len(match[0]) == 1 and match[0].isalpha()))
    return found


def _ranked(token: str, is_patch: bool) -> tuple[int, int]:  # noqa: FBT001  because it is private, and stands beside its token
    """Return a token's rank: words before a release, the end, other words, letters behind a number, numbers."""
    if token.isdigit():
        return _NUMBER, int(token)
    if is_patch:
        return _LETTER, ord(token.lower())
    return _BEFORE.get(token.lower(), _WORD), 0
