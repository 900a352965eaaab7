"""Read the manifest of a RAUC bundle as RAUC does: a GLib key file, and the groups that RAUC knows. Pure.

Sources: the specification of desktop entry files (GLib ``GKeyFile``), and RAUC's reference, "Manifest". RAUC itself
refuses keys and groups that it does not know; ``rauc extract`` runs beside this reader.
"""

import re
from typing import NoReturn

from ota.errors import RefusedBundleError
from ota.facts import BundleFacts

MANIFEST = "manifest.raucm"
#: adaptive method to the suffix of the file that ``rauc bundle`` puts beside the image
ADAPTIVE = {"block-hash-index": ".block-hash-index"}
_CASYNC = (".caibx", ".caidx")
_GROUP, _ESCAPE = re.compile(r"\[([^\[\]\x00-\x1f\x7f]+)\]\s*"), re.compile(r"\\(.?)", re.DOTALL)
_ESCAPES = {"s": " ", "n": "\n", "t": "\t", "r": "\r", "\\": "\\"}

Groups = dict[str, dict[str, str]]


def read_manifest(text: str) -> BundleFacts:
    """Return what a manifest says: compatible, version (empty where it says none), images, files, hooks.

    Raises:
        RefusedBundleError: malformed, of another format than ``verity``, without ``compatible``, or its images are not
            in the bundle.
    """
    groups = read_groups(text)
    _demand_verity(groups.get("bundle", {}).get("format", "plain"))
    update = groups.get("update", {})
    if not update.get("compatible"):
        _refuse("has no `compatible` in its group [update]")
    images = {name.removeprefix("image."): keys for name, keys in groups.items() if name.startswith("image.")}
    hooks, handler = groups.get("hooks", {}), groups.get("handler", {})
    files = [one["filename"] for one in (*images.values(), hooks, handler) if one.get("filename")]
    _demand_plain_paths(files)
    return {
        "compatible": update["compatible"],
        "version": update.get("version", ""),
        "images": list(images),
        "files": [*dict.fromkeys(files), *_indexes(images)],
        "hooks": sorted(
            {*_listed(hooks, "hooks"), *(one for keys in images.values() for one in _listed(keys, "hooks"))}
        ),
        "handler": handler.get("filename", ""),
        "adaptive": sorted({one for keys in images.values() for one in _listed(keys, "adaptive")}),
    }


def read_groups(text: str) -> Groups:
    """Return group to key to value of a GLib key file.

    Raises:
        RefusedBundleError: a line is neither group, key nor comment, or a key appears twice.
    """
    groups: Groups = {}
    keys: dict[str, str] | None = None
    for number, line in enumerate(text.split("\n"), 1):
        bare = line.removesuffix("\r").lstrip(" \t")
        if not bare.strip() or bare.startswith("#"):
            continue
        if match := _GROUP.fullmatch(bare):
            keys = groups.setdefault(match[1], {})
            continue
        key, equals, value = bare.partition("=")
        key = key.rstrip()
        if keys is None or not equals or not key or key.startswith("["):
            _refuse(f"cannot be read: line {number} is not a group, a key with a value, or a comment")
        if key in keys:
            _refuse(f"names the key {key[:40]!r} twice in one group (line {number})")
        keys[key] = _unescaped(value.lstrip(), number)
    return groups


def _unescaped(value: str, number: int) -> str:
    if not set(_ESCAPE.findall(value)) <= set(_ESCAPES):
        _refuse(f"has an unknown escape sequence in line {number}")
    return _ESCAPE.sub(lambda match: _ESCAPES[match[1]], value)


def _demand_verity(form: str) -> None:
    """Refuse formats whose content the server cannot verify before it is used."""
    if form == "crypt":
        msg = "The bundle has `format=crypt`: an encrypted payload cannot be verified. Build it with `format=verity`."
        raise RefusedBundleError(msg)
    if form != "verity":
        msg = f"The bundle has `format={form[:20]}`, which is not accepted. Build it with `format=verity` in [bundle]."
        raise RefusedBundleError(msg)


def _demand_plain_paths(files: list[str]) -> None:
    """Refuse names that are not the path of a file in the bundle as it is listed: RAUC takes them for that file."""
    for name in files:
        if any(part in {"", ".", ".."} for part in name.split("/")):
            _refuse(
                f"names the file {name[:60]!r}, and only plain relative paths without `.`, `..` and `//` are accepted"
            )


def _indexes(images: dict[str, dict[str, str]]) -> list[str]:
    """Return the files that adaptive methods add, and refuse images that are not in the bundle."""
    indexes = []
    for name, keys in images.items():
        file = keys.get("filename", "")
        if file.endswith(_CASYNC):
            msg = (
                f"The image {name[:40]!r} is a casync index: its data is outside the bundle and is not verified. "
                "Build the bundle without `rauc convert`."
            )
            raise RefusedBundleError(msg)
        indexes += [file + ADAPTIVE[method] for method in _listed(keys, "adaptive") if method in ADAPTIVE]
    return list(dict.fromkeys(indexes))


def _listed(keys: dict[str, str], name: str) -> list[str]:
    return [part for part in keys.get(name, "").split(";") if part]


def _refuse(why: str) -> NoReturn:
    msg = f"The bundle's manifest {why}. Build the bundle with `rauc bundle`."
    raise RefusedBundleError(msg)
