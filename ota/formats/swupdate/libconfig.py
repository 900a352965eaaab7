"""Read libconfig text as libconfig 1.5 to 1.8 read it; what they read differently is refused. Pure.

The grammar is the one of the libconfig manual, chapter 2. The library is tested beside this reader in
``tests/peers/test_libconfig.py``. Three things that the library does are not done here:

- ``@include`` reads another file of the device, which is not signed;
- numbers that do not fit their type wrap around, and a leading zero means octal to some versions only;
- a trailing comma, a NUL and an unclosed comment end the text, or are an error, depending on the version.
"""

import re
from dataclasses import dataclass

from ota.formats.swupdate.tree import MOST_DEPTH, Setting, refuse_description

MAX_SETTINGS = 20_000
_SPACE = re.compile(r"[ \t\n\r\f]+")
_COMMENT = re.compile(r"(?:#|//)[^\n]*\n|/\*.*?\*/", re.DOTALL)
_INCLUDE = re.compile(r"@include")
_TOKEN = re.compile(
    r"""(?P<name>[A-Za-z*][-A-Za-z0-9_*]*)
    |(?P<hex>0[Xx][0-9A-Fa-f]+)(?P<hexlong>LL?)?
    |(?P<float>[-+]?[0-9]+(?:\.[0-9]*)?[eE][-+]?[0-9]+|[-+]?[0-9]*\.[0-9]*(?:[eE][-+]?[0-9]+)?)
    |(?P<int>[-+]?[0-9]+)(?P<long>LL?)?
    |(?P<sign>[=:;,{}\[\]()])""",
    re.VERBOSE,
)
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_ESCAPE = re.compile(r'\\(?:([nrtf\\"])|[xX]([0-9A-Fa-f]{2}))')
_PLAIN = {"n": "\n", "r": "\r", "t": "\t", "f": "\f", "\\": "\\", '"': '"'}
_INT = range(-(2**31), 2**31)
_INT64 = range(-(2**63), 2**63)


@dataclass(frozen=True, slots=True)
class LibconfigToken:
    """One word of the text: ``kind`` is ``name``, ``value``, a sign, or ``end``."""

    kind: str
    line: int
    name: str = ""
    setting: Setting | None = None


def read_libconfig(data: bytes) -> Setting:
    """Return the settings of a text as one group.

    Args:
        data: the text. Strings must be UTF-8, comments may be anything.

    Raises:
        RefusedBundleError: it is no libconfig text, or one that versions of the library read differently.
    """
    text = data.decode("utf-8", "surrogateescape")
    if "\0" in text:
        refuse_description(
            "there is a NUL byte, at which SWUpdate stops reading. Remove it.",
            text.count("\n", 0, text.index("\0")) + 1,
        )
    parser = _Parser(_tokens(text))
    return parser.document()


def _tokens(text: str) -> list[LibconfigToken]:
    """Return all tokens, with one of the kind ``end`` behind them."""
    tokens: list[LibconfigToken] = []
    at, line = 0, 1
    while at < len(text):
        if skipped := _SPACE.match(text, at) or _COMMENT.match(text, at):
            end = skipped.end()
        elif text[at] == '"':
            end = _string(text, at, line, tokens)
        else:
            end = _word(text, at, line, tokens)
        line += text.count("\n", at, end)
        at = end
        if len(tokens) > MAX_SETTINGS * 4:
            refuse_description(f"it holds more than {MAX_SETTINGS} settings.", line)
    tokens.append(LibconfigToken("end", line))
    return tokens


def _string(text: str, at: int, line: int, tokens: list[LibconfigToken]) -> int:
    """Add a string to the tokens; strings that follow one another are one."""
    match = _STRING.match(text, at)
    if match is None:
        refuse_description('a string is not closed; its `"` is missing.', line)
    value = _ESCAPE.sub(lambda one: _unescaped(one, line), match[1])
    if any("\ud800" <= sign <= "\udfff" for sign in value):
        refuse_description("a string is not UTF-8. Write it in UTF-8.", line)
    before = tokens[-1].setting if tokens else None
    if before is not None and before.kind == "string":
        line = before.line
        value = str(before.value) + value
        tokens.pop()
    tokens.append(LibconfigToken("value", line, setting=Setting("string", value, line)))
    return match.end()


def _unescaped(match: "re.Match[str]", line: int) -> str:
    if match[1]:
        return _PLAIN[match[1]]
    code = int(match[2], 16)
    if not 0 < code < 0x80:  # noqa: PLR2004  because ASCII ends there
        refuse_description(
            f"the escape {match[0]} in a string is not an ASCII character. Write the character itself in UTF-8.", line
        )
    return chr(code)


def _word(text: str, at: int, line: int, tokens: list[LibconfigToken]) -> int:
    match = _TOKEN.match(text, at)
    if match is None:
        _demand_known(text, at, line)
        refuse_description(f"syntax error at {text[at : at + 12]!r}.", line)
    if match["name"]:
        word = match["name"].lower()
        truth = Setting("bool", word == "true", line) if word in {"true", "false"} else None
        tokens.append(
            LibconfigToken("value", line, setting=truth) if truth else LibconfigToken("name", line, match["name"])
        )
    elif match["sign"]:
        tokens.append(LibconfigToken({":": "="}.get(match[0], match[0]), line))
    elif match["float"]:
        tokens.append(LibconfigToken("value", line, setting=Setting("float", _float(match[0]), line)))
    else:
        tokens.append(LibconfigToken("value", line, setting=_number(match, line)))
    return match.end()


def _demand_known(text: str, at: int, line: int) -> None:
    """Refuse with the reason what many people write and the library does not take."""
    if _INCLUDE.match(text, at):
        refuse_description("`@include` reads an unsigned file on the device. Put its settings into this file.", line)
    if text.startswith("\ufeff", at):
        refuse_description(
            "it begins with a byte order mark, which SWUpdate does not read. Save it as UTF-8 without BOM.", line
        )
    if text.startswith("/*", at):
        refuse_description("a comment is not closed; its `*/` is missing.", line)
    if text[at] == "#" or text.startswith("//", at):
        refuse_description(
            "a comment in the last line has no end of line, which SWUpdate does not read. Add one.", line
        )


def _float(digits: str) -> float:
    """Return a number; what has no digits, a lone point, is 0 to the library too."""
    try:
        return float(digits)
    except ValueError:
        return 0.0


def _number(match: "re.Match[str]", line: int) -> Setting:
    digits, long = (match["hex"], match["hexlong"]) if match["hex"] else (match["int"], match["long"])
    plain = digits.lstrip("+-")
    if not match["hex"] and plain.startswith("0") and plain.strip("0"):
        refuse_description(
            f"{digits} begins with 0, which versions of libconfig read as octal or as decimal. Remove the 0.", line
        )
    if len(plain) > 40:  # noqa: PLR2004  because no number of 64 bits is as long
        refuse_description(f"the number {digits[:20]}… is too long.", line)
    value = int(digits, 16 if match["hex"] else 10)
    if value not in (_INT64 if long else _INT):
        refuse_description(
            f"{digits} does not fit {64 if long else 32} bits. Write it with L at its end, or smaller.", line
        )
    return Setting("int64" if long else "int", value, line)


class _Parser:
    """A parser that looks one token ahead; as deep as ``MOST_DEPTH``."""

    def __init__(self, tokens: list[LibconfigToken]) -> None:
        self._tokens, self._at, self._count = tokens, 0, 0

    def document(self) -> Setting:
        """Return the whole text as a group."""
        return self._group("end", 1, 0)

    def _next(self) -> LibconfigToken:
        token = self._tokens[self._at]
        self._at += token.kind != "end"
        return token

    def _ahead(self) -> str:
        return self._tokens[self._at].kind

    def _group(self, closing: str, line: int, depth: int) -> Setting:
        members: dict[str, Setting] = {}
        while (token := self._next()).kind != closing:
            if token.kind != "name":
                refuse_description("syntax error: a setting's name was expected.", token.line)
            if token.name in members:
                refuse_description(f"the setting {token.name!r} appears twice in one group. Remove one.", token.line)
            if self._next().kind != "=":
                refuse_description(f"syntax error: `=` or `:` was expected after {token.name!r}.", token.line)
            members[token.name] = self._value(depth)
            if self._ahead() in {";", ","}:
                self._next()
        return Setting("group", members, line)

    def _value(self, depth: int) -> Setting:
        token = self._next()
        self._count += 1
        if self._count > MAX_SETTINGS:
            refuse_description(f"it holds more than {MAX_SETTINGS} settings.", token.line)
        if depth >= MOST_DEPTH:
            refuse_description(f"it is nested deeper than {MOST_DEPTH} levels.", token.line)
        if token.setting is not None:
            return token.setting
        if token.kind == "{":
            return self._group("}", token.line, depth + 1)
        if token.kind == "(":
            return Setting("list", self._elements(")", token.line, depth + 1), token.line)
        if token.kind == "[":
            return self._array(token.line, depth + 1)
        return refuse_description("syntax error: a value was expected.", token.line)

    def _array(self, line: int, depth: int) -> Setting:
        elements = self._elements("]", line, depth)
        if (
            any(element.kind in {"group", "list", "array"} for element in elements)
            or len({element.kind for element in elements}) > 1
        ):
            refuse_description("an array `[ ]` holds plain values of one type only. Use a list `( )`.", line)
        return Setting("array", elements, line)

    def _elements(self, closing: str, line: int, depth: int) -> tuple[Setting, ...]:
        settings: list[Setting] = []
        if self._ahead() == closing:
            self._next()
            return ()
        while True:
            if settings and self._ahead() == closing:
                refuse_description(
                    "there is a comma before a closing bracket, which some versions of libconfig refuse. Remove it.",
                    line,
                )
            settings.append(self._value(depth))
            token = self._next()
            if token.kind == closing:
                return tuple(settings)
            if token.kind != ",":
                refuse_description(f"syntax error: `,` or `{closing}` was expected.", token.line)
