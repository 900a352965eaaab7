"""Rules of the code that linters do not check."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib

import pytest

from fleet import environment
from tests.architecture.sources import ROOT, modules

MEANINGLESS = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "managers"}
#: The verifier imports its format's module after it was told which, before it is shut in: nothing else may be loaded.
STRING_EDGES = {"fleet/urls.py", "fleet/settings.py", "fleet/apps.py", "ota/formats/__main__.py"}


def functions():
    for path, tree in modules().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield path, node


def test_files_have_at_most_400_lines():
    long = {str(path): len((ROOT / path).read_text().splitlines()) for path in modules()}
    assert {path: lines for path, lines in long.items() if lines > 400} == {}


def test_functions_have_at_most_40_lines():
    long = {f"{path}:{node.name}": node.end_lineno - node.lineno + 1 for path, node in functions()}
    assert {name: lines for name, lines in long.items() if lines > 40} == {}


def test_no_module_has_a_meaningless_name():
    assert [str(path) for path in modules() if MEANINGLESS & {path.stem, *path.parts[:-1]}] == []


def test_no_work_is_left_as_a_mark_in_the_code():
    mark = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b|NotImplementedError")
    assert [str(path) for path in modules() if mark.search((ROOT / path).read_text())] == []


def test_every_lint_opt_out_carries_a_reason():
    bare = re.compile(r"#\s*noqa(?!: ?[A-Z0-9, ]+\s+(?:because|—|-)\s*\S)|#\s*type:\s*ignore(?!\[[a-z, -]+\]\s+#\s*\S)")
    found = [
        f"{path}:{number}"
        for path in modules()
        for number, line in enumerate((ROOT / path).read_text().splitlines(), 1)
        if bare.search(line)
    ]
    assert found == []


def test_edges_by_string_stand_in_three_files_only():
    found = []
    for path, tree in modules().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                if name in {"import_string", "import_module", "get_model"} or (
                    name == "include" and node.args and isinstance(node.args[0], ast.Constant)
                ):
                    found.append(str(path))
    assert set(found) <= STRING_EDGES


def test_only_the_clock_asks_what_time_it_is():
    found = []
    for path, tree in modules().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr in {"now", "utcnow", "today"}:
                owner = node.value
                name = owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", "")
                if name in {"datetime", "date", "timezone"}:
                    found.append(str(path))
    assert set(found) <= {"pki/kernel/clock.py"}


def test_every_setting_stands_in_the_table_of_settings():
    table = (ROOT / "docs/reference/settings.md").read_text()
    assert set(re.findall(r"^\| `([A-Z0-9_]+)` \|", table, re.MULTILINE)) == set(environment.DEFAULTS)


def test_every_runtime_dependency_has_its_reason():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"], *project["optional-dependencies"]["grown"]]
    names = {re.split(r"[\[<>=~ ;]", line)[0].lower() for line in lines}
    table = (ROOT / "docs/reference/dependencies.md").read_text()
    assert names <= {name.lower() for name in re.findall(r"^\| `([A-Za-z0-9_-]+)", table, re.MULTILINE)}


def test_every_module_of_fleet_has_a_place_in_the_contracts_and_in_the_table():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layered = re.findall(r"fleet\.\w+", " ".join(contracts[0]["layers"]))
    apart = next(one for one in contracts if one["name"] == "Agents and simulator speak only over the wire")
    placed = {*layered, *apart["source_modules"], "fleet.sqlite"}  # nobody imports the last one: the settings name it
    there = {f"fleet.{path.parts[1].removesuffix('.py')}" for path in modules() if path.parts[0] == "fleet"}
    assert there - {"fleet.__init__"} == placed
    rows = re.findall(r"^\| (`fleet\..+?) \|", (ROOT / "docs/architecture.md").read_text(), re.MULTILINE)
    told = {f"fleet.{name.removeprefix('fleet.')}" for row in rows for name in re.findall(r"`([\w.]+)`", row)}
    assert told == placed


INJECTED = [
    ("pki/services/ledger.py", "import devices.models"),
    ("devices/services/registry.py", "import ota.models"),
    ("fleet/agent/__init__.py", "import pki.services.ledger"),
    ("ota/services/bundles.py", "import pki.vault"),
    ("fleet/observe.py", "import devices.models"),
    ("fleet/bounds.py", "import fleet.api.errors"),
]


@pytest.mark.parametrize(("path", "line"), INJECTED)
def test_an_injected_import_across_a_wall_is_caught(tmp_path, path, line):
    copy = tmp_path / "copy"
    for layer in ("fleet", "ota", "devices", "pki"):
        shutil.copytree(ROOT / layer, copy / layer, ignore=shutil.ignore_patterns("__pycache__", "static"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    target = copy / path
    target.write_text(f"{line}\n" + target.read_text())
    code = "from importlinter.cli import lint_imports_command as c; c()"
    done = subprocess.run(
        [sys.executable, "-c", code, "--no-cache"], cwd=copy, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "BROKEN" in done.stdout
    assert path.removesuffix(".py").removesuffix("/__init__").replace("/", ".") in done.stdout
