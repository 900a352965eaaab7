"""What devices and officers run: they share the contracts and the kernel with the server, and nothing else of it."""

import ast

import pytest

from tests.architecture.sources import modules

OUTSIDE = ("fleet.agent", "fleet.simulator", "fleet.officer")
SHARED = ("pki.kernel", "ota.contract", "devices.contract")
OURS = ("pki", "ota", "devices", "fleet")


def is_below(name, packages):
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def imported(tree):
    """Yield the full names that a module imports of our packages."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if is_below(alias.name, OURS))
        elif isinstance(node, ast.ImportFrom) and is_below(node.module or "", OURS):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def forbidden(trees):
    """Return which imports of agents, simulator and officers' tool are not allowed."""
    return [
        f"{path}: {name}"
        for path, tree in trees.items()
        if is_below(".".join(path.with_suffix("").parts), OUTSIDE)
        for name in imported(tree)
        if not is_below(name, (*SHARED, *OUTSIDE))
    ]


def test_agents_and_officers_share_kernel_and_contracts_only():
    assert forbidden(modules()) == []


@pytest.mark.parametrize(
    "line",
    ["import ota.trust", "from ota import contract, facts", "from devices import models", "from fleet import observe"],
)
def test_an_injected_import_is_found(line):
    some = next(path for path in modules() if path.parts[:2] == ("fleet", "agent"))
    assert len(forbidden({some: ast.parse(line)})) == 1


def test_names_of_signed_fields_stand_once():
    found = {}
    for path, tree in modules().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("x-muster-"):
                found.setdefault(node.value, []).append(str(path))
    assert found
    assert {name: paths for name, paths in found.items() if paths != ["ota/contract/field_names.py"]} == {}
