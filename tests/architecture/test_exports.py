"""What a module says that it exports exists."""

import ast
from importlib import import_module

import pytest

from tests.architecture.sources import modules


def exporting():
    """Return the names of the modules with an ``__all__``."""
    return sorted(
        ".".join(path.with_suffix("").parts).removesuffix(".__init__")
        for path, tree in modules().items()
        if any(isinstance(node, ast.Name) and node.id == "__all__" for node in ast.walk(tree))
    )


@pytest.mark.parametrize("name", exporting())
def test_what_a_module_exports_exists(name):
    module = import_module(name)
    assert [one for one in module.__all__ if not hasattr(module, one)] == []
    assert sorted(set(module.__all__)) == sorted(module.__all__)


def test_there_are_modules_that_export():
    assert {"devices.selectors", "devices.models"} <= set(exporting())
