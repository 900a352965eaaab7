"""Loaded before Django (``-p tests.environment``): tests own a throw-away FLEET_DIR, never the real one."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

from tests import database

_folder = Path(tempfile.mkdtemp(prefix="muster-tests-"))
_owner = os.getpid()
os.environ["FLEET_DIR"] = str(_folder)
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fleet.settings")
database.choose()


@atexit.register
def _remove() -> None:
    if os.getpid() == _owner:
        shutil.rmtree(_folder, ignore_errors=True)
