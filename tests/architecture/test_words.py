"""What people read says it in the field's words: no banned word in comments, docstrings, messages, templates and docs."""

import io
import re
import tokenize
import tomllib
from functools import cache
from pathlib import Path

import pytest

from tests.architecture.sources import FLOORS, ROOT

GENERATED = {
    "docs/reference/api.md",
    "docs/reference/permissions.md",
    "docs/reference/regressions.md",
    "docs/reference/attacks.md",
}
#: code in backticks, values in formatted texts, names of arguments in docstrings
_CODE = re.compile(r"```.*?```|``[^`]*``|`[^`]*`|\{[^{}\n]*\}|^ +\w+:(?= )", re.DOTALL | re.MULTILINE)
_PROSE = {"COMMENT", "STRING", "FSTRING_MIDDLE"}


@cache
def banned():
    """Return (pattern, what to write, the files that may say it) of each word."""
    words = tomllib.loads((Path(__file__).parent / "banned_words.toml").read_text())["word"]
    assert all(one.get("because") for one in words if one.get("allowed"))
    return [
        (re.compile(rf"\b(?:{one['pattern']})\b", re.IGNORECASE), one["write"], tuple(one.get("allowed", ())))
        for one in words
    ]


def sources():
    """Yield every file that people read, by its path below the root."""
    for floor in FLOORS:
        for path in (ROOT / floor).rglob("*"):
            if path.suffix in {".py", ".html", ".md"} and "migrations" not in path.parts:
                yield path.relative_to(ROOT)
    for path in (ROOT / "docs").rglob("*.md"):
        if str(path.relative_to(ROOT)) not in GENERATED:
            yield path.relative_to(ROOT)
    yield from (Path("README.md"), Path("CONTRIBUTING.md"))


def prose(path, text):
    """Yield (line number, words) of what people read in a file: of Python its comments and texts, without code in them."""
    if path.suffix != ".py":
        yield from enumerate(_CODE.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text).splitlines(), 1)
        return
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if tokenize.tok_name[token.type] in _PROSE and " " in token.string:
            words = _CODE.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), token.string)
            yield from enumerate(words.splitlines(), token.start[0])


def said(path, text):
    """Return a sentence for each banned word in a file."""
    return [
        f"{path}:{number}: {found[0]!r}: write {write}"
        for number, words in prose(path, text)
        for pattern, write, allowed in banned()
        if str(path) not in allowed and not any(one.endswith("/") and str(path).startswith(one) for one in allowed)
        for found in pattern.finditer(words)
    ]


def test_no_banned_word_is_said():
    found = [one for path in sources() for one in said(path, (ROOT / path).read_text())]
    assert found == [], "\n".join(found)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("docs/x.md", "Every door is told."),
        ("fleet/x.py", "# the hot table knows\n"),
        ("fleet/x.py", 'msg = "The paper is damaged."\n'),
        ("fleet/console/x.html", "<h2>Last acts</h2>"),
    ],
)
def test_an_injected_word_is_found(path, text):
    assert said(Path(path), text)


@pytest.mark.parametrize("text", ["`bench doors` measures it.", "```\nmanage.py bench doors\n```\n"])
def test_code_is_no_word(text):
    assert said(Path("docs/x.md"), text) == []
