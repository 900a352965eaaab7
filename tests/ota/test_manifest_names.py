"""Names in bundle.json mean the same to every reader."""

import json

import pytest

from ota.errors import ManifestError
from ota.manifest import parse_manifest
from tests.architecture.test_shown_fields import FULL
from tests.regressions import regression


@regression("V6", "file paths and ids with spaces and dots at an end, or percent-encoded")
@pytest.mark.parametrize("path", ["a ", "a.", " a", "%2e%2e/b", "b/%2E%2e", "a./b", "a /b", "a/ b"])
def test_a_path_that_readers_see_differently_is_refused(path):
    value = json.loads(json.dumps(FULL))
    value["files"][0]["path"] = path
    with pytest.raises(ManifestError):
        parse_manifest(json.dumps(value).encode())


@pytest.mark.parametrize("place", ["id", "component"])
def test_an_id_does_not_end_with_a_dot(place):
    with pytest.raises(ManifestError):
        parse_manifest(json.dumps({**FULL, place: "a."}).encode())


def test_paths_that_authors_have_are_read():
    for path in ("100%.bin", "fw v1.2.bin", ".hidden", "a/b-c_d.bin"):
        value = json.loads(json.dumps(FULL))
        value["files"][0]["path"] = path
        assert parse_manifest(json.dumps(value).encode()).files[0].path == path
