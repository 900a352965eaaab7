"""The rows of hostile and unusual inputs that earlier versions handled wrongly, and the tests that cover each of them.

A test carries ``@regression("R1", "what kind of input it tries")``. ``python -m tests.regressions`` writes
``docs/reference/regressions.md`` and the R and V rows of ``docs/reference/attacks.md``; tests compare both.
"""

import ast
from pathlib import Path

from tests.architecture.sources import ROOT

DOCUMENT = ROOT / "docs" / "reference" / "regressions.md"

ROWS = {
    "A1": "sign-in links set up or recover an account and do nothing else",
    "A2": "API tokens cannot outlive or exceed their parent; admins list and revoke all",
    "A3": "no secret is sent in a URL",
    "A4": "the protection grade rests on what the device proved",
    "A5": "/metrics is not public",
    "B1": "chunked bodies are read or refused, never dropped",
    "B2": "text that a database or UTF-8 cannot hold",
    "B3": "X.509 fields that are parsed lazily",
    "B4": "too many query fields",
    "B5": "integers beyond 64 bits and deep nesting",
    "B6": "slow uploads",
    "B7": "query parameters that a list does not have, and values that cannot be meant",
    "B8": "HTTP and CoAP as the RFCs say: media types, HEAD, Range, Host, Accept, methods",
    "B9": "keys that a certificate cannot carry unchanged",
    "B10": "PEM files with more than one object; explicit defaults in certificates",
    "C1": "file names that one client cannot fetch",
    "C2": "sw-description is read as SWUpdate reads it",
    "C3": "free version texts",
    "C4": "ONNX subgraphs, functions and operator domains",
    "C5": "RAUC adaptive methods and Mender compressions",
    "C6": "encrypted data that begins like an image",
    "C7": "files in subfolders, the same way by REST, console and command",
    "C8": "payloads that compress well",
    "C9": "security counters count from publication; unreleased bundles can be deleted",
    "N1": "presence and counts do not grow with the fleet",
    "N2": "rollouts of many devices lock nobody out",
    "R1": "every protocol gives a device only what officers signed",
    "R2": "header fields and heads without end",
    "R3": "devices follow hundreds of roots",
    "R4": "what was verified is what is used",
    "R5": "verifiers are confined, or uploads are refused",
    "R6": "a restore in the audit log is proved",
    "R7": "secrets reach one process only",
    "R8": "officers see every field that they sign",
    "R9": "nobody is shut out by strangers",
    "R10": "rate limits for every certificate and network",
    "R11": "signed versions and times are bounded by signer and device",
    "R12": "what a device reports of an image comes from what officers signed",
    "R13": "devices bound what a server sends",
    "R14": "quantisation and labels of models are compared",
    "R15": "HTTP/0.9, caches and access logs",
    "U": "upgrades keep every row, and devices of the version before still update",
    "V1": "one person or key counts once, however it is spelled",
    "V2": "revocation lists are complete, or refused",
    "V3": "duplicate keys are refused in every parser",
    "V4": "every compression that the device unpacks is bounded",
    "V5": "CAs are recognised by key",
    "V6": "signatures, names and certificates as the RFCs say; one reason a cause",
    "V7": "a version that goes back is acknowledged by the officer",
}  # fmt: skip


def regression(row, kind):
    """Mark a test as holding a row.

    Args:
        row: a key of ``ROWS``.
        kind: the kind of input that the test tries, in a few words; a literal, since the table is read from the source.
    """
    assert row in ROWS
    assert kind

    def mark(function):
        function.regressions = [*getattr(function, "regressions", []), (row, kind)]
        return function

    return mark


def collected_proofs():
    """Return row to a list of (kind, test as path::name), read from the sources of all tests."""
    proofs = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                for row, kind in _marks_of(node):
                    proofs.setdefault(row, []).append((kind, f"{path.relative_to(ROOT)}::{node.name}"))
    return proofs


def _marks_of(node):
    for mark in node.decorator_list:
        if isinstance(mark, ast.Call) and getattr(mark.func, "id", "") == "regression":
            yield tuple(argument.value for argument in mark.args)


def table_of(sections):
    """Return the lines of the table for the rows whose key begins with one of these letters."""
    proofs = collected_proofs()
    lines = ["| Row | Guarantee | Input | Test |", "|---|---|---|---|"]
    for row, promise in ROWS.items():
        if row[0] in sections:
            lines += [f"| {row} | {promise} | {kind} | `{test}` |" for kind, test in proofs.get(row, [])]
    return lines


def document():
    """Return the document as Markdown."""
    lines = [
        "# Regressions",
        "",
        "Each row is a kind of input, artefact or attack that an earlier version handled wrongly, and the test that covers it now.",
        "Generated by `python -m tests.regressions`; a test compares. Run one row with `pytest TEST`.",
        "",
        *table_of("ABCNRUV"),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    from tests.attacks import test_table

    DOCUMENT.write_text(document())
    Path(test_table.DOCUMENT).write_text(test_table.document(test_table.proofs()))
