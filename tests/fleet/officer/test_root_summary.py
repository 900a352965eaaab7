"""The officers' tool shows people and keys before it signs a root or first targets, and signs nothing unasked."""

import json
import subprocess
import sys

import pytest
from tuf.api.metadata import Metadata, Root

from fleet.officer import keys, metadata, root_summary
from ota.contract import root_keys
from ota.services import metadata as repository
from pki.kernel.errors import InvalidError
from tests.architecture.sources import ROOT
from tests.factories.ground import system
from tests.regressions import regression

pytestmark = pytest.mark.django_db


def run(*arguments, said="no\n"):
    command = [sys.executable, "-m", "fleet.officer", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, input=said, capture_output=True, text=True, check=False)


def fingerprint(path):
    return root_keys.describe_key(json.loads(path.read_text())["key"])


@regression("V1", "roots and first targets that were signed without showing people and keys")
@regression("R8", "roots and first targets that were signed without showing people and keys")
def test_people_and_keys_are_shown_before_a_root_is_signed(workshop, tmp_path):
    folder = workshop.folder
    online = tmp_path / "online.json"
    online.write_text(json.dumps(dict(repository.online_keys(actor=system(workshop.domain)))))
    publics = [
        argument for name in ("anna", "bruno", "carla") for argument in ("--officer", folder / f"{name}.pub.json")
    ]
    private = ["--key", folder / "anna.key", "--key", folder / "bruno.key"]
    out = tmp_path / "1.root.json"
    command = ["tuf-root", *publics, "--online", online, *private, "--out", out]
    for answer in ("no\n", ""):
        said = run(*command, said=answer)
        assert (said.returncode, out.exists()) == (1, False)
    for name in ("anna", "bruno", "carla"):
        assert said.stdout.count(f"{name}: {fingerprint(folder / f'{name}.pub.json')}") == 2
    assert "targets (people): 2 of 3 must sign" in said.stdout
    assert run(*command, said="yes\n").returncode == 0
    targets = ["tuf-targets", "--root", out, *private, "--bits", "1", "--out", tmp_path / "targets.json"]
    said = run(*targets)
    assert said.returncode == 1
    assert fingerprint(folder / "carla.pub.json") in said.stdout
    assert run(*targets, "--yes", said="").returncode == 0


def test_what_a_next_root_changes_is_shown(published):
    keys.generate_key(published.folder, "dora")
    officers = [published.folder / f"{name}.pub.json" for name in ("anna", "bruno", "dora")]
    new = metadata.make_next_root(published.root, {}, officers).signed
    lines = root_summary.root_lines(new, Metadata[Root].from_bytes(published.root).signed)
    assert lines[0].startswith("ROOT version 1 -> 2, expires 20")
    dora, carla = (fingerprint(published.folder / f"{name}.pub.json") for name in ("dora", "carla"))
    assert lines.count(f"  dora: {dora}  ADDED") == 2
    assert lines.count(f"  carla: {carla}  REMOVED") == 2


@regression("R8", "a root with a field that the tool cannot show")
def test_a_root_with_unknown_fields_is_not_signed(published):
    root = Metadata[Root].from_bytes(published.root).signed
    for change in (
        lambda: root.unrecognized_fields.update({"x-other": 1}),
        lambda: next(iter(root.keys.values())).unrecognized_fields.update({"x-role": "boss"}),
    ):
        change()
        with pytest.raises(InvalidError, match="unknown field"):
            root_summary.root_lines(root, None)
        root.unrecognized_fields.pop("x-other", None)


@regression("V1", "a public half whose id, spelling or name is not that of the key")
def test_a_public_half_is_believed_in_nothing(published, tmp_path):
    good = json.loads((published.folder / "carla.pub.json").read_text())
    upper = json.loads(json.dumps(good))
    upper["key"]["keyval"]["public"] = upper["key"]["keyval"]["public"].upper()
    path = tmp_path / "carla.pub.json"
    path.write_text(json.dumps(upper))
    assert keys.load_officer(path)[1].to_dict() == {**good["key"], "x-muster-officer": "carla"}
    for change in ({"keyid": "f" * 64}, {"name": "carla "}, {"key": {}}, {"key": {**good["key"], "scheme": "x"}}):
        path.write_text(json.dumps({**good, **change}))
        with pytest.raises(InvalidError):
            keys.load_officer(path)
    path.write_text(json.dumps({**good, "name": "dora"}))
    with pytest.raises(InvalidError, match="Officers need different keys"):
        metadata.make_next_root(published.root, {}, [published.folder / "carla.pub.json", path])
