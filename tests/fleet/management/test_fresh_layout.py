"""An empty database is laid out at once: as all migrations would have made it, and only when it is empty."""

import json
import os
import subprocess
import sys
from contextlib import closing, contextmanager

import pytest
from django.db import connection

from tests.architecture.sources import ROOT


def _tables(way, folder, **addresses):
    folder.mkdir()
    surroundings = {**os.environ, "FLEET_DIR": str(folder), "DJANGO_SETTINGS_MODULE": "fleet.settings", **addresses}
    command = [sys.executable, "-m", "tests.factories.tables", way]
    done = subprocess.run(command, cwd=ROOT, env=surroundings, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@contextmanager
def _addresses(way):
    """Yield the addresses of two databases of their own: nothing on SQLite, whose files lie in the set-up."""
    if connection.vendor == "sqlite":
        yield {"DATABASE_URL": "", "TELEMETRY_DATABASE_URL": ""}
        return
    import psycopg

    names = [f"{part}_{way.replace('-', '_')}" for part in ("laid", "laid_telemetry")]
    base = os.environ["DATABASE_URL"]
    with closing(psycopg.connect(base.replace("/muster?", "/postgres?"), autocommit=True)) as server:
        for name in names:
            server.execute(f"CREATE DATABASE {name}")
        try:
            main, telemetry = (base.replace("/muster?", f"/{name}?") for name in names)
            yield {"DATABASE_URL": main, "TELEMETRY_DATABASE_URL": telemetry}
        finally:
            for name in names:
                server.execute(f"DROP DATABASE {name}")


@pytest.mark.django_db
def test_both_ways_make_the_same_tables(tmp_path):
    found = {}
    for way in ("at-once", "step-by-step"):
        with _addresses(way) as addresses:
            found[way] = _tables(way, tmp_path / way, **addresses)
    for alias in ("default", "telemetry"):
        once, steps = set(found["at-once"][alias]), set(found["step-by-step"][alias])
        assert len(once) > 20
        assert sorted(once - steps) == sorted(steps - once) == []
