"""Vendored files are the ones that the table names."""

import hashlib
import re

from tests.architecture.sources import ROOT

FOLDER = ROOT / "fleet/console/static/console/vendor"


def test_every_vendored_file_has_the_digest_of_the_table():
    rows = re.findall(r"^\| `([^`]+)` \|.*\| `([0-9a-f]{64})` \|$", (FOLDER / "VENDORED.md").read_text(), re.MULTILINE)
    assert {name for name, _ in rows} == {path.name for path in FOLDER.iterdir()} - {"VENDORED.md"}
    for name, digest in rows:
        assert hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() == digest, name


def test_no_vendored_file_points_to_a_source_map():
    for path in FOLDER.glob("*.css"):
        assert b"sourceMappingURL" not in path.read_bytes()
