"""Match a board's revision with the entries of ``hardware-compatibility``: texts and ``#RE:`` expressions. Pure.

SWUpdate searches with POSIX extended expressions. A pattern that was uploaded must not take long, so that it is not
given to Python's ``re``: it becomes a finite automaton, and a revision is read once (K. Thompson, "Regular Expression
Search Algorithm", CACM 11(6), 1968). Classes like ``[[:digit:]]``, backslash letters and counts over 100 are not read.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

PREFIX = "#RE:"
MOST_STATES = 500
_MOST_REPEATS = 100
_ANY = frozenset(chr(code) for code in range(1, 128))
_SPECIAL = frozenset("\\^$.[]|()*+?{}")


class UnreadablePatternError(ValueError):
    """A pattern uses what is not read here."""


@dataclass(slots=True)
class _State:
    """One state: the signs that lead on, where to, and where one gets for nothing. ``edge`` is ``^`` or ``$``."""

    signs: frozenset[str] = frozenset()
    onward: "_State | None" = None
    free: "list[_State]" = field(default_factory=list)
    edge: str = ""


@dataclass(frozen=True, slots=True)
class _Piece:
    start: _State
    end: _State


def accepts_revision(revisions: Sequence[str], revision: str) -> bool | None:
    """Return whether one of the entries accepts a revision; None when that rests on a pattern that is not read here."""
    unread = False
    for entry in revisions:
        if not entry.startswith(PREFIX):
            if entry == revision:
                return True
            continue
        try:
            if _matches(entry.removeprefix(PREFIX), revision):
                return True
        except UnreadablePatternError:
            unread = True
    return None if unread else False


def _matches(pattern: str, text: str) -> bool:
    """Return whether a part of the text matches."""
    if not text.isascii():
        raise UnreadablePatternError
    whole = _Pattern(pattern).read()
    current = _reach([whole.start], at_start=True, at_end=not text)
    for number, sign in enumerate(text):
        if id(whole.end) in current:
            return True
        ahead = [state.onward for state in current.values() if state.onward and sign in state.signs]
        current = _reach([*ahead, whole.start], at_start=False, at_end=number + 1 == len(text))
    return id(whole.end) in current


def _reach(states: list[_State], *, at_start: bool, at_end: bool) -> dict[int, _State]:
    """Return all states that are reached without reading a sign."""
    found: dict[int, _State] = {}
    while states:
        state = states.pop()
        if id(state) in found or (state.edge == "^" and not at_start) or (state.edge == "$" and not at_end):
            continue
        found[id(state)] = state
        states += state.free
    return found


class _Pattern:
    """Builds the automaton of one pattern."""

    def __init__(self, pattern: str) -> None:
        self._pattern, self._at, self._states, self._depth = pattern, 0, 0, 0

    def read(self) -> _Piece:
        """Return the automaton of the whole pattern."""
        piece = self._either()
        if self._at != len(self._pattern):
            raise UnreadablePatternError
        return piece

    def _state(self, **fields: object) -> _State:
        self._states += 1
        if self._states > MOST_STATES:
            raise UnreadablePatternError
        return _State(**fields)  # type: ignore[arg-type]  # its own fields

    def _ahead(self) -> str:
        return self._pattern[self._at : self._at + 1]

    def _either(self) -> _Piece:
        self._depth += 1
        if self._depth > 20:  # noqa: PLR2004  because nobody nests deeper to name a board
            raise UnreadablePatternError
        start, end = self._state(), self._state()
        while True:
            piece = self._sequence()
            start.free.append(piece.start)
            piece.end.free.append(end)
            if self._ahead() != "|":
                self._depth -= 1
                return _Piece(start, end)
            self._at += 1

    def _sequence(self) -> _Piece:
        start = end = self._state()
        while self._ahead() not in {"", "|", ")"}:
            for piece in self._repeated():
                end.free.append(piece.start)
                end = piece.end
        return _Piece(start, end)

    def _repeated(self) -> list[_Piece]:
        """Return the next piece as often as what follows it asks for; it is read again each time."""
        before, pieces = self._at, [self._atom()]
        anchor = self._pattern[before] in "^$"
        least, most = self._count()
        if anchor and (least, most) != (1, 1):
            raise UnreadablePatternError
        if max(least, most or 0) > _MOST_REPEATS or (most is not None and most < least):
            raise UnreadablePatternError
        behind = self._at
        for _ in range(max(least, most or 0, 1) - 1):
            self._at = before
            pieces.append(self._atom())
        self._at = behind
        for piece in pieces[least:]:
            piece.start.free.append(piece.end)
        if most is None:
            pieces[-1].end.free.append(pieces[-1].start)
        return pieces if most != 0 else []

    def _count(self) -> tuple[int, int | None]:
        sign = self._ahead()
        if sign not in set("*+?{"):
            return 1, 1
        self._at += 1
        if sign != "{":
            return {"*": (0, None), "+": (1, None), "?": (0, 1)}[sign]
        inside, closed, _ = self._pattern[self._at :].partition("}")
        least, comma, most = inside.partition(",")
        if not closed or not least.isdecimal() or (most and not most.isdecimal()) or len(inside) > 7:  # noqa: PLR2004  because two counts of three digits
            raise UnreadablePatternError
        self._at += len(inside) + 1
        return int(least), int(most) if most else None if comma else int(least)

    def _atom(self) -> _Piece:
        sign = self._ahead()
        self._at += 1
        if sign == "(":
            piece = self._either()
            if self._ahead() != ")":
                raise UnreadablePatternError
            self._at += 1
            return _Piece(piece.start, piece.end)
        if sign in {"^", "$"}:
            edge, end = self._state(edge=sign), self._state()
            edge.free.append(end)
            start = self._state()
            start.free.append(edge)
            return _Piece(start, end)
        end = self._state()
        return _Piece(self._state(signs=self._signs(sign), onward=end), end)

    def _signs(self, sign: str) -> frozenset[str]:
        if sign == ".":
            return _ANY
        if sign == "[":
            return self._class()
        if sign == "\\":
            sign = self._ahead()
            self._at += 1
            if sign not in _SPECIAL | set("-/"):
                raise UnreadablePatternError
        elif sign in _SPECIAL - {"]", "}"} or sign not in _ANY:
            raise UnreadablePatternError
        return frozenset(sign)

    def _class(self) -> frozenset[str]:
        """Return the signs of ``[a-z_]``; a bracket inside and character classes are not read."""
        inside, closed, _ = self._pattern[self._at :].partition("]")
        self._at += len(inside) + 1
        negated = inside.startswith("^")
        inside = inside.removeprefix("^")
        if not closed or not inside or "[" in inside or "\\" in inside or not set(inside) <= _ANY:
            raise UnreadablePatternError
        signs: set[str] = set()
        at = 0
        while at < len(inside):
            first = last = inside[at]
            if inside[at + 1 : at + 2] == "-" and at + 2 < len(inside):
                last = inside[at + 2]
                at += 2
            at += 1
            if last < first:
                raise UnreadablePatternError
            signs |= {chr(code) for code in range(ord(first), ord(last) + 1)}
        return _ANY - signs if negated else frozenset(signs)
