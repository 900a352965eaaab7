"""The backup archive: a tar file with the databases and their digests, verified completely before use."""

import hashlib
import io
import json
import os
import tarfile
from pathlib import Path

from pki.kernel import intake, strict_json
from pki.kernel.errors import InvalidError

MANIFEST = "manifest.json"
MOST_MANIFEST = 10_000
FORMAT = 1


def write_archive(path: Path, databases: list[Path]) -> None:
    """Write an archive atomically: it is complete on the disk, or does not exist."""
    manifest = json.dumps(
        {"format": FORMAT, "files": {database.name: _digest(database) for database in databases}}, sort_keys=True
    )
    temporary = path.with_name(f".{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        with tarfile.open(fileobj=file, mode="w") as tar:
            entry = tarfile.TarInfo(MANIFEST)
            entry.size = len(manifest)
            tar.addfile(entry, io.BytesIO(manifest.encode()))
            for database in databases:
                tar.add(database, database.name)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def unpack_databases(path: Path, folder: Path, names: set[str]) -> dict[str, Path]:
    """Extract the database files of an archive into a private folder; return their paths by name.

    Args:
        path: the archive.
        folder: empty and private.
        names: the files that the archive must contain, and no others; a name is never used as a path.

    Raises:
        InvalidError: the file is not a backup of this program, or is damaged.
    """
    try:
        with tarfile.open(path, "r:") as tar:
            digests = _manifest(tar)
            if set(digests) != names or set(tar.getnames()) != {MANIFEST, *names}:
                msg = f"{path} is not a complete backup: it must contain exactly {', '.join(sorted(names))}."
                raise InvalidError(msg)
            paths = {name: _copy(tar, name, folder / f"{number}.new") for number, name in enumerate(sorted(names))}
    except (tarfile.TarError, OSError, ValueError, KeyError, TypeError) as error:
        msg = f"{path} is not a Muster backup. Use a file that `manage.py backup` wrote."
        raise InvalidError(msg) from error
    for name, copy in paths.items():
        if _digest(copy) != digests[name]:
            msg = f"{name} inside {path} is damaged: its digest does not match. Use another backup."
            raise InvalidError(msg)
    return paths


def _manifest(tar: tarfile.TarFile) -> dict[str, str]:
    entry = tar.getmember(MANIFEST)
    file = tar.extractfile(entry)
    if file is None or entry.size > MOST_MANIFEST:
        msg = "The archive has no manifest."
        raise ValueError(msg)
    manifest = intake.map_of(strict_json.read_json(file.read(), max_bytes=MOST_MANIFEST), "manifest")
    if manifest["format"] != FORMAT:
        msg = f"The archive has format {manifest['format']}; this version reads format {FORMAT}."
        raise ValueError(msg)
    files = intake.map_of(manifest["files"], "files")
    return {name: intake.read_text(digest, name) for name, digest in files.items()}


def _copy(tar: tarfile.TarFile, name: str, target: Path) -> Path:
    source = tar.extractfile(name)
    if source is None:
        msg = f"{name} is not a file."
        raise ValueError(msg)
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        while part := source.read(1 << 20):
            file.write(part)
        file.flush()
        os.fsync(file.fileno())
    return target


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
