"""``bundle.json``: its schema as values, and the reader that refuses everything else. Pure."""

from ota.manifest import agreement
from ota.manifest.document import FileEntry, Hardware, Manifest, ModelNeeds, Requirement
from ota.manifest.reader import MAX_MANIFEST, parse_manifest

__all__ = [
    "MAX_MANIFEST",
    "FileEntry",
    "Hardware",
    "Manifest",
    "ModelNeeds",
    "Requirement",
    "agreement",
    "parse_manifest",
]
