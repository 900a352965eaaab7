"""``#RE:`` expressions beside the C library's own ``regexec``, which SWUpdate calls: the same answer, or none."""

import ctypes
import random

from ota.formats.swupdate import revisions
from tests.regressions import regression

EXTENDED, NO_PLACES, ROOM = 1, 8, 256
ATOMS = ["a", "b", "1", ".", "\\.", "[ab]", "[^a]", "[a-c1]", "(a|b)", "(ab)", "^", "$", "(a|)", "-"]
COUNTS = ["", "", "", "*", "+", "?", "{2}", "{1,2}", "{0,1}", "{2,}"]
TEXTS = ["", "a", "b", "ab", "aab", "abab", "1.0", "1.10", "a.b", "aaa", "ba1", "c-1", "cc"]


def matches(pattern, text):
    """Return what the C library says, or None for a pattern that it refuses."""
    library, room = ctypes.CDLL(None), ctypes.create_string_buffer(ROOM)
    if library.regcomp(room, pattern.encode(), EXTENDED | NO_PLACES):
        return None
    try:
        return library.regexec(room, text.encode(), 0, None, 0) == 0
    finally:
        library.regfree(room)


def written(source):
    """Return an expression."""
    parts = [source.choice(ATOMS) + source.choice(COUNTS) for _ in range(source.randrange(1, 5))]
    return source.choice(["", "^"]) + source.choice(["", "|"]).join(parts) + source.choice(["", "$"])


@regression("C2", "expressions of revisions beside the C library")
def test_expressions_are_answered_as_by_the_c_library():
    source, answered = random.Random(14), 0
    for _ in range(1500):
        pattern, text = written(source), source.choice(TEXTS)
        ours = revisions.accepts_revision([revisions.PREFIX + pattern], text)
        if ours is not None:
            assert ours == matches(pattern, text), (pattern, text)
            answered += 1
    assert answered > 1000
