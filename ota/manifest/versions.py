"""Whether a version text looks older than another one. Pure.

A version is a text for people. What devices compare is the security counter; nothing is ordered by reading a version.
``looks_older`` is a guess for a warning, and says nothing when two texts are not written alike.
"""

import re
from itertools import zip_longest

_BEGIN = re.compile(r"(?:[A-Za-z]{2,20}-)?[vV]?(?=[0-9])")
#: what `git describe` appends: the hash of the commit says nothing of its age
_COMMIT = re.compile(r"-g[0-9a-f]{4,40}(?:-dirty)?$|-dirty$")
_TOKEN = re.compile(r"[0-9]+|[A-Za-z]+|~")
_HASH = re.compile(r"(?=[0-9a-f]*[a-f])[0-9a-f]{6,64}")
#: words of a text that comes before the same text without them; Debian sorts ``~`` before everything
_BEFORE = {"~": 0, "dev": 1, "snapshot": 1, "alpha": 2, "a": 2, "beta": 3, "b": 3, "pre": 4, "preview": 4, "rc": 5}
_END = 10


def looks_older(version: str, before: str) -> bool:
    """Say whether a version text looks older than another one, as a person would read both.

    Args:
        version: of what comes.
        before: of what it follows.
    """
    coming, known = _read(version), _read(before)
    if coming is None or known is None or coming[0] != known[0]:
        return False
    pairs = zip_longest(coming[1], known[1], fillvalue=(_END, 0))
    return next((one < other for one, other in pairs if one != other), False)


def _read(version: str) -> tuple[str, list[tuple[int, int]]] | None:
    """Return a version's word before the first number, then its tokens in an order; None without a number."""
    begin = _BEGIN.match(version)
    if begin is None or _HASH.fullmatch(version):
        return None
    text, _, build = version[begin.end() :].partition("+")
    tokens = [*_TOKEN.findall(_COMMIT.sub("", text)), *([build] if build.isascii() and build.isdecimal() else [])]
    return begin[0].lower().rstrip("v"), [_ranked(one) for one in tokens]


def _ranked(token: str) -> tuple[int, int]:
    """Return a token's rank: words before a release, the end, other words, numbers."""
    if token.isdigit():
        return _END + 2, int(token)
    return _BEFORE.get(token.lower(), _END + 1), 0
