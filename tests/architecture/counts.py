"""Count what views read by themselves, so that before and after are told alike: ``python -m tests.architecture.counts``.

Views are the modules of the console, the REST API, the device gateway and the guard. Counted are calls, not lines: role
checks (``.require(``, and what replaced it), uses of a model's manager (``.objects``) and filters (``.filter(``); selectors that take a slug
instead of an actor; and names of ``Any``, imports included.
"""

import ast
import json
import sys
from collections import Counter, defaultdict

from tests.architecture.sources import modules

VIEWS = (("fleet", "console"), ("fleet", "api"), ("fleet", "gateway"), ("fleet", "guard"))
CALLS = {"role checks": "require", "filters": "filter"}
#: methods of querysets that selectors call, and views do not
QUERYSETS = frozenset(
    {"select_related", "prefetch_related", "order_by", "values_list", "exclude", "annotate", "aggregate"}
)
#: functions that ask for a right; ``may_do``, by which a page hides a button, is none of them
ASKS = frozenset({"require_action", "require_on", "permitted_rows", "pick_one"})


def views():
    """Return the modules of the views."""
    return {path: tree for path, tree in modules().items() if path.parts[:2] in VIEWS}


def calls(trees, method):
    """Return where a method of something is called: (path, line)."""
    return [
        (str(path), node.lineno)
        for path, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and _is_called(node.func, method)
    ]


def _is_called(function, method):
    if isinstance(function, ast.Name):
        return method == CALLS["role checks"] and function.id in ASKS
    return isinstance(function, ast.Attribute) and function.attr == method


def managers(trees):
    """Return where a model's manager is used: (path, line)."""
    return [
        (str(path), node.lineno)
        for path, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr == "objects"
    ]


def querysets(trees):
    """Return where a query is built or changed: (path, line). ``values`` of a dictionary takes no argument."""
    return [
        (str(path), node.lineno)
        for path, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
        if node.func.attr in QUERYSETS or (node.func.attr == "values" and (node.args or node.keywords))
    ]


def selectors():
    """Return the public functions of all selectors: (path, name, names of its parameters)."""
    return [
        (str(path), node.name, [one.arg for one in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)])
        for path, tree in modules().items()
        if "selectors" in path.parts or path.name == "selectors.py"
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
    ]


def uses_of_any():
    """Return how often the name ``Any`` stands in the code, imports included."""
    found = 0
    for tree in modules().values():
        for node in ast.walk(tree):
            found += isinstance(node, ast.Name) and node.id == "Any"
            found += isinstance(node, ast.ImportFrom) and sum(one.name == "Any" for one in node.names)
    return found


def one_word_functions():
    """Return the public functions of modules whose name has one word: name to the modules."""
    found = defaultdict(list)
    for path, tree in modules().items():
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
                found[node.name].append(str(path))
    return {name: paths for name, paths in found.items() if "_" not in name}


def bindings(*names):
    """Return how often each of some names is bound as a variable: by an assignment, a loop or a comprehension."""
    found = Counter(
        node.id
        for tree in modules().values()
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id in names
    )
    return {name: found[name] for name in names}


def count():
    """Return every count by its name."""
    trees, asked = views(), selectors()
    found = {name: len(calls(trees, method)) for name, method in CALLS.items()}
    found["uses of a model's manager"] = len(managers(trees))
    found["selectors"] = len(asked)
    found["selectors that take a slug"] = sum("slug" in names for _, _, names in asked)
    found["selectors that take an actor"] = sum("actor" in names for _, _, names in asked)
    found["uses of Any"] = uses_of_any()
    one_word = one_word_functions()
    found["public functions with a name of one word"] = sum(len(paths) for paths in one_word.values())
    found["names of one word in more than one module"] = sum(len(paths) > 1 for paths in one_word.values())
    found["variables"] = bindings("one", "found")
    return found


if __name__ == "__main__":
    json.dump(count(), sys.stdout, indent=1)
    print()
