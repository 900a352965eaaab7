"""Read the header of a Mender artifact of version 3: header-info, type-info, meta-data and state scripts. Pure.

Source: Mender's artifact format, version 3 (``Documentation/artifact-format-v3.md`` of mender-artifact).
"""

import re
from collections.abc import Iterable
from typing import Any, BinaryIO, NoReturn

from ota.errors import RefusedBundleError
from pki.kernel import strict_json
from pki.kernel.errors import InvalidError

MAX_SMALL = 1 << 20
_TYPE_INFO, _META_DATA = "headers/0000/type-info", "headers/0000/meta-data"
_SCRIPTS, _OTHER_PAYLOAD = "scripts/", re.compile(r"headers/[0-9]{4}/.*")
_SEVERAL = "has several payloads, and Mender's client installs artifacts with exactly one"
#: where a version begins in an artifact's name: at a digit, or at v and a digit, behind a separator
_VERSION = re.compile(r"(?:^|[-_ ])v?(?=[0-9])")
_MOST_PAIRS = 100


def read_header(members: Iterable[tuple[str, BinaryIO, int]]) -> dict[str, Any]:
    """Return the facts of a header.

    Args:
        members: name, content and size of each file of ``header.tar``.

    Raises:
        RefusedBundleError: a document is missing or malformed, or a member has no place there.
    """
    documents: dict[str, Any] = {}
    scripts = []
    for name, file, size in members:
        if name.startswith(_SCRIPTS):
            scripts.append(name.removeprefix(_SCRIPTS))
        elif name in {"header-info", _TYPE_INFO, _META_DATA}:
            empty = name == _META_DATA and not size  # what `mender-artifact write rootfs-image` makes
            documents[name] = None if empty else read_json(file.read(MAX_SMALL + 1), name)
        elif _OTHER_PAYLOAD.fullmatch(name):
            _refuse(_SEVERAL)
        else:
            _refuse(f"has a member {name[:60]!r} in its header, which the format does not know")
    if not isinstance(documents.get("header-info"), dict):
        _refuse("has no header-info in its header")
    return {**_facts(documents["header-info"], documents.get(_TYPE_INFO)), "scripts": scripts}


def read_json(data: bytes, name: str) -> Any:
    """Return a JSON document.

    Raises:
        RefusedBundleError: it is none, or names a key twice.
    """
    if len(data) > MAX_SMALL:
        _refuse(f"holds a {name} of more than {MAX_SMALL} bytes")
    try:
        return strict_json.read_json(data, max_bytes=MAX_SMALL)
    except InvalidError:
        _refuse(f"holds a {name} that is no JSON, or names a key twice")


def names_version(facts: dict[str, Any], identity: str, version: str) -> bool:
    """Say whether an artifact is of a version.

    It is when its name is the version, or the bundle's id and the version, or has the version from its first digit on;
    or when the software version that it provides is the version.

    Args:
        facts: of the artifact.
        identity: the bundle's ``id``.
        version: the bundle's ``version``.
    """
    name = str(facts["artifact"])
    begins = _VERSION.search(name)
    said = {name, *(text for key, text in facts["provides"].items() if _is_version(key, text))}
    if begins:
        said |= {name[begins.end() :], name[begins.start() :].lstrip("-_ ")}
    return version in said or name in {f"{identity}{separator}{version}" for separator in "-_ "}


def _is_version(key: str, value: object) -> bool:
    return key.endswith(".version") and isinstance(value, str)


def _facts(info: dict[str, Any], kind: object) -> dict[str, Any]:
    try:
        name = _text(info["artifact_provides"]["artifact_name"])
        devices = [_text(one) for one in info["artifact_depends"]["device_type"]]
        payloads = [_text(one["type"] or "") for one in info["payloads"]]
    except (KeyError, TypeError) as error:
        msg = "The artifact's header-info lacks artifact_name, device_type or payloads."
        raise RefusedBundleError(msg) from error
    if len(payloads) != 1:
        _refuse(_SEVERAL if payloads else "has no payload in its header-info")
    if not isinstance(kind, dict):
        _refuse("has no type-info in its header")
    if (kind.get("type") or payloads[0]) != payloads[0]:
        _refuse("names one type of payload in header-info and another in type-info")
    return {
        "artifact": name,
        "hardware": devices,
        "payloads": payloads,
        "provides": _pairs(info["artifact_provides"], kind.get("artifact_provides"), leave_out="artifact_name"),
        "depends": _pairs(info["artifact_depends"], kind.get("artifact_depends"), leave_out="device_type"),
        "clears": [_text(one) for one in kind.get("clears_artifact_provides") or ()],
    }


def _pairs(*documents: object, leave_out: str) -> dict[str, Any]:
    """Return what an artifact provides or depends on, of both documents."""
    found: dict[str, Any] = {}
    for one in documents:
        if one is None:
            continue
        if not isinstance(one, dict) or len(one) > _MOST_PAIRS:
            _refuse(f"provides or depends on something that is no map of at most {_MOST_PAIRS} entries")
        found |= {
            _text(key): [_text(each) for each in value] if isinstance(value, list) else _text(value)
            for key, value in one.items()
        }
    found.pop(leave_out, None)
    return found


def _text(value: object) -> str:
    if not isinstance(value, str):
        _refuse("has a number, a list or a map where its header wants a text")
    return value


def _refuse(why: str) -> NoReturn:
    msg = f"The artifact {why}. Write it with `mender-artifact`."
    raise RefusedBundleError(msg)
