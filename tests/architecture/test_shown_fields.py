"""What officers sign is what they are shown: the tool knows every field that the server reads, and shows it."""

import ast
import json

import pytest

from fleet.officer import bundle_summary
from ota.manifest import parse_manifest
from pki.kernel.errors import InvalidError
from tests.architecture.sources import ROOT
from tests.regressions import regression

DIGEST = "ab" * 32
FULL = {
    "schema": 1,
    "id": "wake-word",
    "version": "4.5.6",
    "kind": "model",
    "format": "tflite",
    "component": "model.wake",
    "security_counter": 77,
    "audience": ["lab", "canary"],
    "hw": [
        {
            "vendor_id": "11111111-1111-5111-8111-111111111111",
            "class_id": "22222222-2222-5222-8222-222222222222",
            "name": "esp32-cam",
            "rev": "r17",
        }
    ],
    "files": [
        {"path": "wake.tflite", "size": 4711, "sha256": DIGEST, "role": "image"},
        {"path": "vectors.cbor", "size": 4712, "sha256": "cd" * 32, "role": "golden"},
        {"path": "bom.json", "size": 4713, "sha256": "ef" * 32, "role": "sbom"},
    ],
    "requires": [{"component": "radio", "min_counter": 31, "max_counter": 39}],
    "fit": {"flash": 51001, "arena": 51002, "labels": ["yes", "no", "silence"]},
    "acknowledges": ["arena-below-measured"],
    "eval": {"metric": "recall", "minimum": "0.93", "window": 61, "golden": "cd" * 32},
    "min_runtime": {"agent": "2.7", "bootloader": "b9", "tflm_schema": 3},
    "licence": "Apache-2.0",
    "support_until": "2031-12-30",
    "sbom": "bom.json",
}


def leaves(value):
    """Yield every value of a document."""
    for one in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from leaves(one)
    if not isinstance(value, dict | list):
        yield str(value)


def names(known):
    """Yield every field of a table."""
    for name, inner in known.items():
        yield name
        yield from names(inner or {})


def read_names():
    """Return the field names that the server's reader asks for: texts given to its calls on ``fields``."""
    found = set()
    for node in ast.walk(ast.parse((ROOT / "ota" / "manifest" / "reader.py").read_text())):
        if isinstance(node, ast.Call):
            function = node.func
            method = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
            if method in {"text", "texts", "integer", "items", "group", "has", "_uuid", "_known", "_chosen"}:
                found |= {
                    one.value for one in node.args if isinstance(one, ast.Constant) and isinstance(one.value, str)
                }
    return found


@regression("R8", "a field of bundle.json that the officers' tool would not show")
def test_the_tool_knows_every_field_that_the_server_reads():
    assert read_names() <= set(names(bundle_summary.KNOWN)), "add the new field to fleet/officer/bundle_summary.py"


@regression("R8", "acknowledges, max_counter, rev, min_runtime, support_until, fit and all others")
def test_every_value_is_shown():
    parse_manifest(json.dumps(FULL).encode())
    assert set(names(bundle_summary.KNOWN)) == {*FULL, *(name for part in FULL.values() for name in inner(part))}
    lines = "\n".join(bundle_summary.bundle_lines(FULL))
    assert [one for one in leaves(FULL) if one not in lines] == []


def inner(part):
    groups = part if isinstance(part, list) else [part]
    return {name for one in groups if isinstance(one, dict) for name in one}


@regression("R8", "unknown fields at every depth")
@pytest.mark.parametrize("place", ["", "hw", "files", "requires", "fit", "eval", "min_runtime"])
def test_a_field_that_is_unknown_is_refused(place):
    value = json.loads(json.dumps(FULL))
    group = value[place] if place else value
    (group[0] if isinstance(group, list) else group)["x-new"] = 1
    with pytest.raises(InvalidError, match="is an unknown field"):
        list(bundle_summary.bundle_lines(value))
    odd = {**json.loads(json.dumps(FULL)), place or "licence": {"x": {"y": 1}}}
    with pytest.raises(InvalidError, match=r"is an unknown field|does not have the expected shape"):
        list(bundle_summary.bundle_lines(odd))
