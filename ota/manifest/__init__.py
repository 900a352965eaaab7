"""``bundle.json``: its schema as values, and the reader that refuses everything else. Pure."""

from ota.manifest import agreement
from ota.manifest.document import FileEntry, Fit, Hardware, Manifest, Requirement
from ota.manifest.reader import MAX_MANIFEST, parse

__all__ = ["MAX_MANIFEST", "FileEntry", "Fit", "Hardware", "Manifest", "Requirement", "agreement", "parse"]
