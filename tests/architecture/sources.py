"""The project's own Python files, as the architecture tests read them."""

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LAYERS = ("fleet", "ota", "devices", "pki")


@cache
def modules() -> dict[Path, ast.Module]:
    """Return every module of the four layers, without migrations, keyed by path below the root."""
    found = {}
    for layer in LAYERS:
        for path in sorted((ROOT / layer).rglob("*.py")):
            if "migrations" not in path.parts:
                found[path.relative_to(ROOT)] = ast.parse(path.read_text())
    return found
