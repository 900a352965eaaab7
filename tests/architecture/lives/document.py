"""The lives as ``docs/architecture.md`` tells them, and what does not agree with the code or with what happened."""

import ast
import re
from dataclasses import dataclass
from itertools import pairwise

from tests.architecture.sources import modules

LIVES = (
    "A poll that the cache answers",
    "A poll with pending work",
    "An enrolment",
    "An upload",
    "A rollout",
    "An incident",
)
SIGNER, CHILD, AGAIN = "in the signer process", "in the confined child", "again"
_STEP = re.compile(r"`(?P<path>[a-z0-9_/]+\.py): (?P<name>[A-Za-z0-9_.]+)`(?: \((?P<mark>[a-z ]+)\))? (?P<says>\S.+)")
_ITEM = re.compile(r"(?P<number>\d+)\. (?P<text>.+)")


@dataclass(frozen=True)
class Step:
    """One step of a life: a function, where it runs, and what it does."""

    path: str
    name: str
    mark: str
    says: str

    @property
    def function(self):
        """Return what a trace calls it."""
        return f"{self.path}: {self.name}"


def steps_of(text, life):
    """Return the numbered steps below the heading of a life.

    Raises:
        AssertionError: there is no such heading, or an item of its lists names no function.
    """
    found = re.search(rf"^####? {life}\n(?P<body>.*?)(?=^##|\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"there is no life {life!r}"
    items = re.sub(r"\n {3,}(?=\S)", " ", found["body"]).splitlines()
    numbered = [match for item in items if (match := _ITEM.fullmatch(item))]
    assert [int(match["number"]) for match in numbered] == list(range(1, len(numbered) + 1)), life
    steps = []
    for match in numbered:
        step = _STEP.fullmatch(match["text"])
        assert step, f"{life}: step {match['number']} does not name a function and what it does"
        steps.append(Step(step["path"], step["name"], step["mark"] or "", step["says"]))
    return steps


def missing_functions(steps):
    """Return the steps whose function does not exist."""
    return [step.function for step in steps if function_at(step) is None]


def function_at(step):
    """Return the definition that a step names, or None."""
    trees = {str(path): tree for path, tree in modules().items()}
    node = trees.get(step.path)
    for part in step.name.split("."):
        inside = getattr(node, "body", ())
        kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
        node = next((one for one in inside if isinstance(one, kinds) and one.name == part), None)
    return node if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else None


def disorder(steps, life, signer):
    """Return what did not happen in the order of the steps.

    Args:
        steps: of the life, as documented.
        life: when it began and ended, and the first and the last call of each function in it.
        signer: moments and functions of all calls in the signer's process.
    """
    seen, timed, found = set(), [], []
    for step in steps:
        if step.mark == CHILD:
            continue
        moment = _moment(step, life, signer)
        if moment is None:
            found.append(f"{step.function} is not called")
        elif (step.function, step.mark) in seen:
            found.append(f"{step.function} is named twice")
        else:
            timed.append((moment, step))
        seen.add((step.function, step.mark))
    late = [(before, after) for (first, before), (second, after) in pairwise(timed) if second <= first]
    return found + [f"{after.function} is called before {before.function}" for before, after in late]


def _moment(step, life, signer):
    if step.mark == SIGNER:
        inside = (
            moment for moment, name in signer if life["begun"] <= moment <= life["ended"] and name == step.function
        )
        return min(inside, default=None)
    return life["last" if step.mark == AGAIN else "first"].get(step.function)


def unnamed(steps):
    """Return the steps in a confined child that no earlier step names: the trace does not reach that process."""
    found = []
    for place, step in enumerate(steps):
        if step.mark == CHILD:
            package = step.path.removesuffix(".py").removesuffix("/__main__").replace("/", ".")
            wanted = package if step.path.endswith("__main__.py") and step.name == "main" else step.name
            if not any(wanted in _words(one) for one in steps[:place]):
                found.append(step.function)
    return found


def _words(step):
    """Return the names and texts in a function and in what it calls in its own module."""
    tree = next(tree for path, tree in modules().items() if str(path) == step.path)
    inside = {one.name: one for one in ast.walk(tree) if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)}
    waiting, done, words = [function_at(step)], set(), set()
    while waiting:
        node = waiting.pop()
        done.add(node.name)
        own = {_word(one) for one in ast.walk(node)} - {None}
        words |= own
        waiting += [inside[name] for name in own & inside.keys() - done]
    return words


def _word(node):
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None
