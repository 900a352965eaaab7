"""Erase a device's disk: once begun it is finished, whenever the power fails."""

import shutil
from pathlib import Path

from pki.kernel import files

#: says that erasing has begun; goes last
MARK = "erasing"


def begun(folder: Path) -> bool:
    """Say whether an erasure was cut off."""
    return (folder / MARK).exists()


def erase(folder: Path) -> None:
    """Remove everything in a folder, the mark of it last."""
    mark = folder / MARK
    files.write_private(mark, b"")
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path != mark:
            path.unlink(missing_ok=True)
    mark.unlink()
