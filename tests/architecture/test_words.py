"""What people read says it in the field's words: no banned word in comments, docstrings, messages, templates and docs."""

import io
import re
import subprocess
import sys
import tokenize
import tomllib
from functools import cache
from pathlib import Path

import pytest

from tests.architecture.sources import LAYERS, ROOT

GENERATED = {
    "docs/reference/api.md",
    "docs/reference/permissions.md",
    "docs/reference/regressions.md",
    "docs/reference/attacks.md",
}
#: code in backticks, values in formatted texts, names of arguments in docstrings
_CODE = re.compile(r"```.*?```|``[^`]*``|`[^`]*`|\{[^{}\n]*\}|^ +\w+:(?= )", re.DOTALL | re.MULTILINE)
_PROSE = {"COMMENT", "STRING", "FSTRING_MIDDLE"}
_QUOTED = r""""(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'"""
#: comments and texts of the other files that are no prose as a whole, by suffix (of a Makefile: none)
_SPOKEN = {
    ".js": re.compile(rf"//[^\n]*|/\*.*?\*/|{_QUOTED}|`(?:\\.|[^`\\])*`", re.DOTALL),
    ".toml": re.compile(rf"#[^\n]*|{_QUOTED}"),
    "": re.compile(rf"#[^\n]*|{_QUOTED}"),
}


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
    for layer in LAYERS:
        for path in (ROOT / layer).rglob("*"):
            if path.suffix in {".py", ".html", ".md"} and "migrations" not in path.parts:
                yield path.relative_to(ROOT)
    for path in (ROOT / "docs").rglob("*.md"):
        if str(path.relative_to(ROOT)) not in GENERATED:
            yield path.relative_to(ROOT)
    yield from map(Path, ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "Makefile", "pyproject.toml"))
    for path in (ROOT / "fleet/console/static/console").glob("*.js"):
        yield path.relative_to(ROOT)


def without_code(words):
    """Return words with blanks in place of the code in them."""
    return _CODE.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), words)


def texts(suffix, text):
    """Yield (line number, comment or text) of a Makefile, a TOML file or a script; a text of one word is a name."""
    for found in _SPOKEN[suffix].finditer(text):
        words = found[0][1:-1] if found[0][0] in "\"'`" else found[0]
        if " " in words:
            yield text.count("\n", 0, found.start()) + 1, words


def prose(path, text):
    """Yield (line number, words) of what people read in a file: of code its comments and texts, without code in them."""
    if path.suffix in _SPOKEN:
        for number, words in texts(path.suffix, text):
            yield from enumerate(without_code(words).splitlines(), number)
        return
    if path.suffix != ".py":
        yield from enumerate(without_code(text).splitlines(), 1)
        return
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if tokenize.tok_name[token.type] in _PROSE and " " in token.string:
            yield from enumerate(without_code(token.string).splitlines(), token.start[0])


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
        ("fleet/console/static/console/x.js", "// Every door\n"),
        ("fleet/console/static/console/x.js", "say('The door is closed.');\n"),
        ("fleet/console/static/console/x.js", "say(`${name}: the door\nis closed.`);\n"),
        ("Makefile", "test:  ## run the judge\n"),
        ("pyproject.toml", 'name = "Domain floors know no transport"\n'),
        ("CHANGELOG.md", "- Every witness reports 5 packets 1/tick.\n"),
    ],
)
def test_an_injected_word_is_found(path, text):
    assert said(Path(path), text)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("docs/x.md", "`bench doors` measures it."),
        ("docs/x.md", "```\nmanage.py bench doors\n```\n"),
        ("x.js", 'const door = document.querySelector("door");  // `door` opens\n'),
        ("x.js", "say(`Page ${door} is open.`);\n"),
        ("Makefile", "judge: acceptance  ## former name of acceptance\n"),
        ("pyproject.toml", 'door = ["doors"]\n'),
        ("docs/x.md", "The signed floor of a security counter."),
    ],
)
def test_code_is_no_word(path, text):
    assert said(Path(path), text) == []


def test_every_kind_of_file_is_read():
    assert {"", ".toml", ".js", ".md", ".py", ".html"} == {path.suffix for path in sources()}
    assert not [path for path in sources() if path.suffix == ".js" and "vendor" in path.parts]


@pytest.mark.parametrize(("letters", "code"), [("ie", 65), ("ei", 0)])
def test_an_injected_misspelling_is_found(tmp_path, letters, code):
    (tmp_path / "page.md").write_text(f"The device rec{letters}ves it.")
    command = [sys.executable, "-m", "codespell_lib", "--toml", str(ROOT / "pyproject.toml"), str(tmp_path)]
    assert subprocess.run(command, check=False, capture_output=True).returncode == code
