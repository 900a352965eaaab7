"""What the docs name exists: commands with their options, files, links. Each argument of a command has a help text."""

import argparse
import importlib
import re
import shlex

import pytest
from django.core.management import load_command_class

from tests.architecture.sources import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
#: modules that the docs run, each with the name of the function that makes its parser
PROGRAMS = {
    "fleet.officer": ("fleet.officer.__main__", "_parser"),
    "fleet.agent": ("fleet.agent.__main__", "_parser"),
    "fleet.agent.tuf_cli": ("fleet.agent.tuf_cli", "_parser"),
    "fleet.simulator.load": ("fleet.simulator.load", "_parser"),
}
COMMANDS = sorted(path.stem for path in (ROOT / "fleet/management/commands").glob("[a-z]*.py"))
_RUN = re.compile(r"(?:manage\.py|python -m) ([a-z][^`\n]*)")
_DIAGRAM = re.compile(r"^```mermaid.*?^```", re.DOTALL | re.MULTILINE)
_PATH = re.compile(r"`((?:docs|fleet|ota|devices|pki|tests|requirements|docker)/[\w./-]+)`")
_LINK = re.compile(r"\]\((?!https?:)([^)#\s]+)?(?:#([\w-]+))?\)")


def runs(text):
    """Return each documented command line as its words, without comments, redirections and what follows an ellipsis."""
    joined = _DIAGRAM.sub("", text).replace("\\\n", " ")
    return [_words(found[1]) for found in _RUN.finditer(joined)]


def _words(line):
    line = re.split(r" #|[|>;…]|\.\.\.", line)[0]
    try:
        return shlex.split(line)
    except ValueError:
        return line.split()


def parser_of(words):
    """Return the parser of a documented command; None for a module of somebody else."""
    if words[0] in PROGRAMS:
        module, name = PROGRAMS[words[0]]
        return getattr(importlib.import_module(module), name)()
    if "." in words[0]:
        return None
    return load_command_class("fleet", words[0]).create_parser("manage.py", words[0])


def unknown(words):
    """Return what of a documented command its parser does not have: a sub-command or an option."""
    parser = parser_of(words)
    for word in words[1:]:
        if parser is None:
            break
        below = next((one for one in parser._actions if isinstance(one, argparse._SubParsersAction)), None)
        if word.startswith("--"):
            if word.partition("=")[0] not in parser._option_string_actions:
                return word
        elif below is not None:
            if word not in below.choices:
                return word
            parser = below.choices[word]
    return None


def unexplained(parser, name):
    """Return the arguments and sub-commands of a parser that have no help text, each with the command's name."""
    found = []
    for one in parser._actions:
        if isinstance(one, argparse._SubParsersAction):
            said = {choice.dest for choice in one._choices_actions if choice.help}
            found += [f"{name} {below}" for below in one.choices if below not in said]
            for below, further in one.choices.items():
                found += unexplained(further, f"{name} {below}")
        elif one.help is None:
            found.append(f"{name} {(*one.option_strings, one.dest)[0]}")
    return found


def _anchors(path):
    headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in headings}


def dead(page, text):
    """Return the paths and links of a page that lead nowhere."""
    paths = [one for one in _PATH.findall(text) if not (ROOT / one).exists()]
    for target, anchor in _LINK.findall(text):
        path = (page.parent / target).resolve() if target else page
        if not path.exists() or (anchor and anchor not in _anchors(path)):
            paths.append(f"{target}#{anchor}")
    return paths


@pytest.mark.filterwarnings("ignore:No directory at")  # whitenoise, when `serve` is imported before `collectstatic`
@pytest.mark.parametrize("page", PAGES, ids=lambda one: str(one.relative_to(ROOT)))
def test_commands_and_paths_exist(page):
    text = page.read_text()
    assert [(words, missing) for words in runs(text) if (missing := unknown(words))] == []
    assert dead(page, text) == []


@pytest.mark.filterwarnings("ignore:No directory at")
@pytest.mark.parametrize("name", [*COMMANDS, *PROGRAMS])
def test_each_argument_has_a_help_text(name):
    assert unexplained(parser_of([name]), name) == []


def test_an_argument_without_help_is_found():
    parser = argparse.ArgumentParser()
    parser.add_argument("--quiet", action="store_true")
    below = parser.add_subparsers().add_parser("list")
    below.add_argument("id")
    assert unexplained(parser, "x") == ["x --quiet", "x list", "x list id"]


def test_the_docs_have_commands():
    assert sum(len(runs(page.read_text())) for page in PAGES) > 50


@pytest.mark.parametrize(
    "line",
    [
        "`manage.py ca campagn --out x`",
        "`manage.py ca campaign --output x`",
        "`python -m fleet.officer sign --root r --all-of-it`",
        "```\nmanage.py release prepare BUNDLE \\\n  --no-such-option\n```",
    ],
)
def test_an_injected_command_is_found(line):
    assert [one for one in runs(line) if unknown(one)]


@pytest.mark.parametrize("line", ["`docs/no-such.md`", "[a](no-such.md)", "[a](README.md#no-such-heading)"])
def test_an_injected_path_is_found(line):
    assert dead(ROOT / "README.md", line)


def test_a_command_that_does_not_exist_is_found():
    with pytest.raises(ModuleNotFoundError):
        unknown(["no-such-command"])


def test_a_link_to_a_heading_is_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# A heading\n[here](#a-heading)\n")
    assert dead(page, page.read_text()) == []
