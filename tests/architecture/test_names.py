"""Names that grep finds: no class and no public function of a module has a name that another module's has.

A name of two words says what it acts on. The few of one word are services that are called through their module
(``rollouts.start``), entry points, and names that a standard gives.
"""

import ast
from collections import defaultdict
from pathlib import Path

from tests.architecture.sources import modules

#: public functions of modules whose name has one word; lower it when some are renamed
MOST_ONE_WORD = 110
#: names that many modules share because one caller calls them all, and which caller that is
SHARED = {
    "main": "each program's entry point",
    "run": "`bench NAME` calls one for each benchmark",
    "judge": "the sandbox calls one for each artefact format",
    "create": "services, called through their module",
    "withdraw": "services, called through their module",
    "dumps": "JSON and CBOR, named as in Python's own json",
    "loads": "JSON and CBOR, named as in Python's own json",
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


def repeated_functions(trees):
    """Return the names of public functions that more than one module has."""
    return {
        name: sorted(paths) for name, paths in public_functions(trees).items() if len(paths) > 1 and name not in SHARED
    }


def with_one_word(trees):
    """Return where public functions have a name of one word: (path, name)."""
    return [(path, name) for name, paths in public_functions(trees).items() if "_" not in name for path in paths]


def repeated_classes(trees):
    """Return the names of classes that stand in more than one module."""
    found = defaultdict(set)
    for path, tree in trees.items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and node.name not in FRAMEWORK:
                found[node.name].add(str(path))
    return {name: sorted(paths) for name, paths in found.items() if len(paths) > 1}


def test_no_public_function_s_name_stands_in_two_modules():
    assert repeated_functions(modules()) == {}


def test_few_public_functions_have_a_name_of_one_word():
    assert len(with_one_word(modules())) <= MOST_ONE_WORD


def test_no_class_name_stands_twice():
    assert repeated_classes(modules()) == {}


def test_injected_names_are_found():
    trees = {Path(f"pki/m{number}.py"): ast.parse("def look(): ...\nclass Thing: ...\n") for number in range(2)}
    assert set(repeated_functions(trees)) == {"look"}
    assert len(with_one_word(trees)) == 2
    assert len(with_one_word({**modules(), **trees})) == len(with_one_word(modules())) + 2
    assert set(repeated_classes(trees)) == {"Thing"}


def test_every_shared_name_is_still_shared():
    found = public_functions(modules())
    assert {name for name in SHARED if len(found[name]) < 2} == set()
