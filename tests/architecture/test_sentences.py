"""Pages that people follow step by step, and the changelog, use short sentences: 25 words at most, without tables, code and identifiers."""

import re
from pathlib import Path

import pytest

from tests.architecture.sources import ROOT

MOST_WORDS = 25
#: blocks of code, and rows of tables
_NO_PROSE = re.compile(r"^ *```.*?^ *```|^ *\|.*?$", re.DOTALL | re.MULTILINE)
#: an identifier in backticks, or a list of them, counts as one word
_CODE = re.compile(r"`[^`]*`(?:(?:,| and| or|, and|, or)\s+`[^`]*`)*")
_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")
#: where one paragraph, heading or list item ends and the next begins
_BLOCK = re.compile(r"\n\s*\n|\n(?= *(?:[-*] |\d+\. |#))")
_MARK = re.compile(r"^\s*(?:[-*] |\d+\. |#+ )")
_END = re.compile(r"(?<=[.!?])[)*]*\s+(?=[A-Z0-9(*`])")
_WORD = re.compile(r"[^\W_]")


def pages():
    """Yield the pages that have short sentences."""
    yield ROOT / "README.md"
    yield ROOT / "CHANGELOG.md"
    yield from sorted((ROOT / "docs/how-to").glob("*.md"))
    yield from sorted((ROOT / "docs/reference").glob("device-protocol*.md"))
    yield from sorted((ROOT / "docs/reference/device-protocol").glob("*.md"))


def sentences(text):
    """Yield the sentences of a page in Markdown."""
    text = _LINK.sub(r"\1", _CODE.sub("CODE", _NO_PROSE.sub("\n", text)))
    for block in _BLOCK.split(text):
        yield from (" ".join(one.split()) for one in _END.split(_MARK.sub("", block)))


def long_sentences(text):
    """Return the sentences of a page that have too many words, each with its number of words."""
    counted = ((sum(1 for word in one.split() if _WORD.search(word)), one) for one in sentences(text))
    return [f"{words} words: {one}" for words, one in counted if words > MOST_WORDS]


@pytest.mark.parametrize("path", [str(path.relative_to(ROOT)) for path in pages()])
def test_sentences_are_short(path):
    found = long_sentences((ROOT / path).read_text())
    assert found == [], f"{path}: split these sentences:\n" + "\n".join(found)


def test_the_device_protocol_is_read():
    assert len([path for path in pages() if Path("docs/reference") in path.relative_to(ROOT).parents]) > 5


LONG = "The server checks " + " ".join(["one"] * 23) + "."


@pytest.mark.parametrize(
    "text",
    [
        LONG,
        f"Short. {LONG} Short.",
        f"- {LONG}\n- Short.",
        f"# Title\n\nShort\n{LONG}",
        LONG.replace(" one", "\none", 9),
    ],
)
def test_an_injected_sentence_is_found(text):
    assert len(long_sentences(text)) == 1


@pytest.mark.parametrize(
    "text",
    [
        LONG.replace(" one", "", 1),
        f"| {LONG} |",
        f"```sh\n{LONG}\n```",
        f"`{LONG}` is code.",
        "It sends " + ", ".join(["`a`"] * 30) + ".",
        "- " + LONG.replace(" one", " one\n-", 12),
    ],
)
def test_what_is_no_long_sentence_is_left(text):
    assert long_sentences(text) == []
