"""Constants and fields of the drift engine say what they are: no bare numbers, no names of one or two letters."""

import ast
import re

import pytest

from tests.architecture.sources import ROOT

CORES = ["engine", "baseline", "tails", "metrics", "novelty"]
#: of formulas: nothing, one, the 2 of powers and square roots
PLAIN = {0, 1, 2}
LETTERS = re.compile(r"_?[a-z]{1,2}\d?")


def source(core):
    return (ROOT / f"devices/drift/{core}.py").read_text()


def bare_numbers(tree):
    """Return the numbers in functions; those of constants stand beside a name."""
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    inside = {node.value for function in functions for node in ast.walk(function) if isinstance(node, ast.Constant)}
    return {value for value in inside if isinstance(value, int | float)} - PLAIN


def short_names(tree):
    """Return fields, arguments and variables whose names say nothing."""
    named = {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    named |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    named |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    return {name for name in named if LETTERS.fullmatch(name)}


def unexplained(text):
    """Return the numeric constants of a module without a comment of their own above them."""
    lines = text.splitlines()
    found = set()
    for node in ast.parse(text).body:
        if isinstance(node, ast.Assign) and any(isinstance(one, ast.Constant) for one in ast.walk(node.value)):
            above = lines[node.lineno - 2]
            if not above.startswith("#:"):
                found |= {ast.unparse(one) for one in node.targets}
    return found


@pytest.mark.parametrize("core", CORES)
def test_numbers_have_names_and_names_have_meanings(core):
    tree = ast.parse(source(core))
    assert bare_numbers(tree) == set()
    assert short_names(tree) == set()
    assert unexplained(source(core)) == set()


def test_what_it_looks_for_is_found():
    text = "CAP = 30.0\n#: why\nLEAST = 5\ndef f(x):\n    hi = x - 0.75\n    return hi\n"
    assert bare_numbers(ast.parse(text)) == {0.75}
    assert short_names(ast.parse(text)) == {"x", "hi"}
    assert unexplained(text) == {"CAP"}
