"""The backup archive: a tar with the database files and their digests, checked whole before it is used."""

import hashlib
import io
import json
import tarfile
from pathlib import Path

from pki.kernel.errors import InvalidError

MANIFEST = "manifest.json"


def write(path: Path, databases: list[Path]) -> None:
    """Write an archive; it appears whole or not at all."""
    digests = {one.name: hashlib.sha256(one.read_bytes()).hexdigest() for one in databases}
    temporary = path.with_name(f".{path.name}.new")
    with tarfile.open(temporary, "w") as tar:
        manifest = json.dumps({"format": 1, "files": digests}, sort_keys=True).encode()
        entry = tarfile.TarInfo(MANIFEST)
        entry.size = len(manifest)
        tar.addfile(entry, io.BytesIO(manifest))
        for one in databases:
            tar.add(one, one.name)
    temporary.chmod(0o600)
    temporary.replace(path)


def read(path: Path) -> dict[str, bytes]:
    """Return the database files of an archive by name.

    Raises:
        InvalidError: it is no backup of ours, or damaged.
    """
    try:
        with tarfile.open(path) as tar:
            found = {one.name: _bytes(tar, one) for one in tar.getmembers() if one.isfile()}
        digests = json.loads(found.pop(MANIFEST))["files"]
    except (tarfile.TarError, KeyError, ValueError, OSError) as error:
        msg = f"{path} is not a backup of this program."
        raise InvalidError(msg) from error
    for name, digest in digests.items():
        if hashlib.sha256(found.get(name, b"")).hexdigest() != digest:
            msg = f"{name} inside {path} is damaged; use another backup."
            raise InvalidError(msg)
    return {name: found[name] for name in digests}


def _bytes(tar: tarfile.TarFile, entry: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(entry)
    return file.read() if file else b""
