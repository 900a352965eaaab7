"""The change feed between processes, on a database file as a server has it."""

import json
import os
import subprocess
import sys

import pytest

WRITERS, EACH = 3, 200
WRITE = """
import sys
from django.db import transaction
from pki.services import changes
for number in range({each}):
    with transaction.atomic():
        changes.note_changes(f"{name}-{{number}}")
"""
READ = """
import json, sys, time
from pki.services.changes import ChangeFeed
feed = ChangeFeed()
feed.begin()
print("ready", flush=True)
seen, quiet = [], time.monotonic()
while len(seen) < {many} and time.monotonic() - quiet < 20:
    found = feed.news().subjects
    seen += found
    quiet = time.monotonic() if found else quiet
    time.sleep(0.005)
print(json.dumps(seen), flush=True)
"""
SET_UP = "import os\nos.environ['DJANGO_SETTINGS_MODULE'] = 'fleet.settings'\nimport django\ndjango.setup()\n"


@pytest.fixture
def run(tmp_path):
    environment = {**os.environ, "FLEET_DIR": str(tmp_path), "DATABASE_URL": "", "TELEMETRY_DATABASE_URL": ""}
    subprocess.run([sys.executable, "manage.py", "upgrade"], env=environment, check=True, capture_output=True)

    started = []

    def start(code):
        command = [sys.executable, "-c", SET_UP + code]
        started.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for one in started:
        one.stdout.close()
        one.wait(10)


def test_a_reader_hears_of_every_commit_once_while_several_processes_write(run):
    reader = run(READ.format(many=WRITERS * EACH))
    assert reader.stdout.readline() == "ready\n"
    writers = [run(WRITE.format(name=name, each=EACH)) for name in range(WRITERS)]
    assert [one.wait(120) for one in writers] == [0] * WRITERS
    seen = json.loads(reader.stdout.readline())
    assert sorted(seen) == sorted(f"{name}-{number}" for name in range(WRITERS) for number in range(EACH))
    for name in range(WRITERS):
        mine = [one for one in seen if one.startswith(f"{name}-")]
        assert mine == [f"{name}-{number}" for number in range(EACH)]
