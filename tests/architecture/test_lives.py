"""The lives in ``docs/architecture.md``: every step names a function that exists, and they are called in that order."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace

import pytest

from tests.architecture.lives.document import CHILD, LIVES, disorder, missing_functions, steps_of, unnamed
from tests.architecture.sources import ROOT
from tests.factories.ports import lease_listeners

#: one process lives all of them
pytestmark = pytest.mark.xdist_group("lives")

TEXT = (ROOT / "docs/architecture.md").read_text()
SETTINGS = {
    "FLEET_HOST_NAMES": "localhost",
    "FLEET_DRIFT_TICK_S": "1",
    "FLEET_DRIFT_LEARN_TICKS": "20",
    "FLEET_GUARD_AUTOMATIC": "corroborated",
}
EACH_LIFE = pytest.mark.parametrize("name", LIVES)


@pytest.fixture(scope="module")
def lived(tmp_path_factory):
    """Live all lives once, in a process and a set-up of their own; return them and the signer's calls."""
    folder = tmp_path_factory.mktemp("lives")
    kept = {name: value for name, value in os.environ.items() if not name.endswith("DATABASE_URL")}
    environment = {**kept, **SETTINGS, **lease_listeners(), "FLEET_DIR": str(folder / "set-up")}
    (folder / "set-up").mkdir(mode=0o700)
    for arguments in (["manage.py", "upgrade"], ["-m", "tests.architecture.lives.run", str(folder)]):
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=ROOT, env=environment, check=False, capture_output=True, text=True, timeout=1800,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return json.loads((folder / "lives.json").read_text()), json.loads((folder / "signer.json").read_text())


@pytest.mark.parametrize(
    "heading",
    ["Layers", "Processes", "A poll", "An enrolment", "An upload", "A rollout", "An incident"],
)
def test_each_subject_has_a_diagram(heading):
    section = re.search(rf"^###? {heading}\n(.*?)(?=^###? |\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert section[1].count("```mermaid") >= 1


@EACH_LIFE
def test_each_step_names_a_function_that_exists(name):
    steps = steps_of(TEXT, name)
    assert len(steps) >= 10
    assert missing_functions(steps) == []


@EACH_LIFE
def test_each_step_in_a_confined_child_is_named_by_an_earlier_one(name):
    assert unnamed(steps_of(TEXT, name)) == []


@EACH_LIFE
def test_the_functions_are_called_in_that_order(lived, name):
    lives, signer = lived
    assert disorder(steps_of(TEXT, name), lives[name], signer) == []


@EACH_LIFE
def test_two_steps_that_change_places_are_noticed(lived, name):
    lives, signer = lived
    steps = [step for step in steps_of(TEXT, name) if step.mark != CHILD]
    for place in range(len(steps) - 1):
        swapped = [*steps[:place], steps[place + 1], steps[place], *steps[place + 2 :]]
        assert disorder(swapped, lives[name], signer), (steps[place], steps[place + 1])


@EACH_LIFE
def test_a_function_that_has_another_name_is_noticed(lived, name):
    lives, signer = lived
    steps = steps_of(TEXT, name)
    for place, step in enumerate(steps):
        renamed = [*steps[:place], replace(step, name=f"{step.name}_before"), *steps[place + 1 :]]
        assert missing_functions(renamed) == [renamed[place].function]
        assert step.mark == CHILD or disorder(renamed, lives[name], signer)


def test_a_step_of_a_child_that_nobody_starts_is_noticed():
    steps = steps_of(TEXT, "An upload")
    first = next(place for place, step in enumerate(steps) if step.mark == CHILD)
    assert unnamed(steps[first:])[0] == steps[first].function


def test_a_step_that_names_no_function_is_noticed():
    with pytest.raises(AssertionError, match="step 2 does not name a function"):
        steps_of("### An upload\n\n1. `ota/a.py: b` does it.\n2. Then it is stored.\n", "An upload")
