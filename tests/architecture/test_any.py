"""``Any`` switches the type checker off: there is little of it, and each use says why on its line or the one above."""

import ast
import io
import re
import tokenize

from tests.architecture.sources import ROOT, modules

#: uses of the word by package, imports counted; lower a limit when uses go, and add a package when it is done
LIMITS = {"devices": 2, "fleet": 79, "ota": 20, "pki": 19}
MOST = 200
REASON = re.compile(r"# .*\b(untyped|Any): \w")


def uses_in(tree):
    """Return where the name stands: (line, whether it is an import), in annotations that are texts as well."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id == "Any":
            found.append((node.lineno, False))
        elif isinstance(node, ast.ImportFrom):
            found += [(node.lineno, True) for one in node.names if one.name == "Any"]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and "Any" in node.value:
            found += [(node.lineno, False) for one in _words(node.value) if one == "Any"]
    return found


def _words(text):
    """Return the names in a text that is a type; none in a text for people."""
    try:
        return [one.id for one in ast.walk(ast.parse(text, mode="eval")) if isinstance(one, ast.Name)]
    except SyntaxError:
        return []


def reasons(source):
    """Return the lines that a reason stands on."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {one.start[0] for one in tokens if one.type == tokenize.COMMENT and REASON.search(one.string)}


def without_reason(source):
    """Return the lines that use the name, and neither they, nor the line above them or their statement, say why."""
    tree = ast.parse(source)
    told, begins = reasons(source), {}
    for node in ast.walk(tree):  # from the outside in: the innermost statement of a line is the last
        if isinstance(node, ast.stmt):
            body = getattr(node, "body", None)
            last = body[0].lineno - 1 if body else node.end_lineno
            decorated = [one.lineno for one in getattr(node, "decorator_list", [])]
            begins |= dict.fromkeys(range(node.lineno, last + 1), min([node.lineno, *decorated]))
    used = [line for line, is_import in uses_in(tree) if not is_import]
    return [line for line in used if not told & {line, line - 1, begins.get(line, line) - 1}]


def test_uses_of_any_stay_within_each_package_s_limit():
    count = dict.fromkeys(LIMITS, 0)
    for path, tree in modules().items():
        if path.parts[0] in LIMITS:
            count[path.parts[0]] += len(uses_in(tree))
    assert {name: many for name, many in count.items() if many > LIMITS[name]} == {}
    assert sum(LIMITS.values()) <= MOST


def test_each_use_of_any_says_why():
    silent = []
    for path in modules():
        if path.parts[0] in LIMITS:
            silent += [f"{path}:{line}" for line in without_reason((ROOT / path).read_text())]
    assert silent == []


def test_a_use_without_a_reason_is_found():
    assert without_reason("from typing import Any\n\n\ndef read(value: Any) -> int: ...\n") == [4]
    assert without_reason('held: "dict[str, Any]" = {}\n') == [1]
    assert without_reason("# untyped: the library has no types\nclient: Any = None\n") == []
    assert without_reason('"""Any of them."""\n') == []
