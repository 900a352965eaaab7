"""Names that grep finds: no class name stands twice, and no public function's name in more than three modules."""

import ast
from collections import defaultdict
from pathlib import Path

import pytest

from tests.architecture.sources import modules

MOST = 3
#: names that many modules share because one caller calls them all, and which caller that is
SHARED = {
    "main": "each program's entry point",
    "run": "`bench NAME`, servers and confined work: called through their module",
    "handle": "the dispatcher of device requests calls one for each resource",
    "judge": "the sandbox calls one for each artefact format",
    "claim": "enrolment calls one for each kind of proof",
    "dialect": "the device gateway builds one for each protocol adapter",
    "index": "views of the console: a list",
    "detail": "views of the console: one object",
    "create": "services, called through their module",
    "publish": "services, called through their module",
    "register": "services, called through their module",
    "withdraw": "services, called through their module",
}
#: classes that Django or the framework finds by this name
FRAMEWORK = {"Command", "Migration"}


def public_functions(trees):
    """Return the modules that define each public function."""
    found = defaultdict(set)
    for path, tree in trees.items():
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
                found[node.name].add(str(path))
    return found


def too_common(trees):
    """Return the names of public functions that stand in too many modules."""
    return {
        name: sorted(paths)
        for name, paths in public_functions(trees).items()
        if len(paths) > MOST and name not in SHARED
    }


def repeated_classes(trees):
    """Return the names of classes that stand in more than one module."""
    found = defaultdict(set)
    for path, tree in trees.items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and node.name not in FRAMEWORK:
                found[node.name].add(str(path))
    return {name: sorted(paths) for name, paths in found.items() if len(paths) > 1}


def test_no_public_function_s_name_stands_in_many_modules():
    assert too_common(modules()) == {}


def test_no_class_name_stands_twice():
    assert repeated_classes(modules()) == {}


@pytest.mark.parametrize("many", [MOST + 1])
def test_injected_names_are_found(many):
    trees = {Path(f"pki/m{number}.py"): ast.parse("def look(): ...\nclass Thing: ...\n") for number in range(many)}
    assert set(too_common(trees)) == {"look"}
    assert set(repeated_classes(trees)) == {"Thing"}


def test_every_shared_name_is_still_shared():
    found = public_functions(modules())
    assert {name for name in SHARED if len(found[name]) <= MOST} == set()
