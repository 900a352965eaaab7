"""Erase a device's disk. An interrupted erasure continues at the next start."""

import shutil
from pathlib import Path

from pki.kernel import files

#: marker of a started erasure; removed last
MARK = "erasing"


def wipe_begun(folder: Path) -> bool:
    """Return whether an erasure was interrupted."""
    return (folder / MARK).exists()


def erase_folder(folder: Path) -> None:
    """Remove everything in a folder, the marker last."""
    mark = folder / MARK
    files.write_private(mark, b"")
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path != mark:
            path.unlink(missing_ok=True)
    mark.unlink()
