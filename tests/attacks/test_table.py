"""The table of attacks is complete: a test runs every row, and the document names it."""

import ast
from pathlib import Path

from tests.architecture.sources import ROOT
from tests.attacks.table import ROWS, document

HERE = Path(__file__).parent
DOCUMENT = ROOT / "docs" / "reference" / "attacks.md"


def proofs():
    """Return the tests that run each row, read from the sources."""
    found = {}
    for path in sorted(HERE.glob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.FunctionDef):
                continue
            for mark in node.decorator_list:
                if isinstance(mark, ast.Call) and getattr(mark.func, "id", "") == "attack":
                    for argument in mark.args:
                        found.setdefault(argument.value, []).append(f"{path.stem}.{node.name}")
    return found


def test_every_row_is_mounted_by_a_test():
    assert set(proofs()) == set(ROWS)


def test_the_document_is_up_to_date():
    assert DOCUMENT.read_text() == document(proofs()), "run: python -m tests.attacks.test_table"


if __name__ == "__main__":
    DOCUMENT.write_text(document(proofs()))
