"""Read the header of a Mender artifact of version 3: header-info, type-info, meta-data and state scripts. Pure.

Source: Mender's artifact format, version 3 (``Documentation/artifact-format-v3.md`` of mender-artifact).
"""

import math
import re
from collections.abc import Iterable, Mapping
from typing import BinaryIO, NoReturn

from ota.errors import RefusedBundleError
from ota.facts import BundleFacts
from pki.kernel import intake, strict_json
from pki.kernel.errors import InvalidError

MAX_SMALL, MAX_META_DATA = 1 << 20, 4 << 20
_TYPE_INFO, _META_DATA = "headers/0000/type-info", "headers/0000/meta-data"
_SCRIPTS, _OTHER_PAYLOAD = "scripts/", re.compile(r"headers/[0-9]{4}/.*")
_SEVERAL = "has several payloads, and Mender's client installs artifacts with exactly one"
#: where a version begins in an artifact's name: at a digit, or at v and a digit, behind a separator
_VERSION = re.compile(r"(?:^|[-_ ])v?(?=[0-9])")
_MOST_PAIRS = 1000
#: levels of the meta-data, which only update modules on devices read; the other documents have 16 at most
_META_DATA_DEPTH = 100
_TOKENS = re.compile(rb'"(?:[^"\\]|\\.)*+"|-?[0-9][0-9.eE+-]*|[A-Za-z]+', re.DOTALL)
_CONTROL = re.compile(rb"[\x00-\x1f]")
_SOFTWARE, _ROOT = ".version", "rootfs-image.version"


def read_mender_header(members: Iterable[tuple[str, BinaryIO, int]]) -> BundleFacts:
    """Return the facts of a header.

    Args:
        members: name, content and size of each file of ``header.tar``.

    Raises:
        RefusedBundleError: a document is missing or malformed, or a member has no place there.
    """
    documents: dict[str, object] = {}
    scripts = []
    for name, file, size in members:
        if name.startswith(_SCRIPTS):
            scripts.append(name.removeprefix(_SCRIPTS))
        elif name in {"header-info", _TYPE_INFO, _META_DATA}:
            documents[name] = _document(name, file, size)
        elif _OTHER_PAYLOAD.fullmatch(name):
            _refuse(_SEVERAL)
        else:
            _refuse(f"has a member {name[:60]!r} in its header, which the format does not define")
    info = documents.get("header-info")
    if not isinstance(info, dict):
        _refuse("has no header-info in its header")
    return {**_facts(info, documents.get(_TYPE_INFO)), "scripts": scripts}


def _document(name: str, file: BinaryIO, size: int) -> object:
    if name != _META_DATA:
        return read_header_json(file.read(MAX_SMALL + 1), name)
    if not size:  # what `mender-artifact write rootfs-image` makes
        return None
    # only an update module on a device reads it: strings and numbers that cannot be stored here are allowed in it
    data = file.read(MAX_META_DATA + 1)
    document = read_header_json(data, name, most=MAX_META_DATA, max_depth=_META_DATA_DEPTH, lenient=True)
    if document is not None and not isinstance(document, dict):
        _refuse(f"has a {name} that is not a map")
    if any(_is_no_json(token[0]) for token in _TOKENS.finditer(data)):
        _refuse(f"has a {name} that is not JSON: NaN, a number beyond 64-bit floating point, or a control character")
    return document


def _is_no_json(token: bytes) -> bool:
    """Return whether devices refuse a text, word or number that the lenient reader passes."""
    if token[:1] == b'"':
        return _CONTROL.search(token) is not None
    return token in {b"NaN", b"Infinity"} or (token[-1:].isdigit() and math.isinf(float(token)))


def read_header_json(
    data: bytes, name: str, *, most: int = MAX_SMALL, max_depth: int = 16, lenient: bool = False
) -> object:
    """Return a JSON document.

    Args:
        data: the document.
        name: for the sentence of a refusal.
        most: bytes that it may have.
        max_depth: levels that it may have.
        lenient: whether it may hold numbers beyond 64 bits, and texts that cannot be stored.

    Raises:
        RefusedBundleError: it is none, too large or deep, or names a key twice.
    """
    if len(data) > most:
        _refuse(f"has a {name} of more than {most} bytes")
    try:
        return strict_json.read_json(data, max_bytes=most, max_depth=max_depth, lenient=lenient)
    except InvalidError as error:
        msg = f"The artifact has a {name} that is not acceptable JSON: {error.detail.rstrip('.')}."
        raise RefusedBundleError(msg) from error


def names_version(facts: BundleFacts, identity: str, version: str) -> bool:
    """Return whether an artifact is of a version.

    It is when its name is the version, or the bundle's id and the version, or has the version from its first digit on;
    or when the version of its own software that it provides is the version.

    Args:
        facts: of the artifact.
        identity: the bundle's ``id``.
        version: the bundle's ``version``.
    """
    name = str(facts["artifact"])
    begins = _VERSION.search(name)
    said = {name, *_software_versions(facts, identity)}
    if begins:
        said |= {name[begins.end() :], name[begins.start() :].lstrip("-_ ")}
    return version in said or name in {f"{identity}{separator}{version}" for separator in "-_ "}


def _software_versions(facts: BundleFacts, identity: str) -> set[str]:
    """Return the version of the artifact's own software, among all that it provides; nothing when that is not clear.

    It is the root file system's; without one, that of the software which is called like the bundle or the payload's
    type (``rootfs-image.single-file.version``); without one, what all of them say alike.
    """
    provides = {key: text for key, text in facts["provides"].items() if key.endswith(_SOFTWARE)}
    called = {identity, *facts.get("payloads", ())}
    own = [key for key in provides if key.removesuffix(_SOFTWARE).partition(".")[2] in called]
    if _ROOT in provides:
        own = [_ROOT]
    said = [provides[key] for key in own or provides]
    return set(map(str, said)) if said and all(isinstance(one, str) and one == said[0] for one in said) else set()


def _facts(info: Mapping[str, object], kind: object) -> BundleFacts:
    try:
        name = _text(_part(info, "artifact_provides")["artifact_name"])
        devices = [
            _text(item) for item in intake.list_of(_part(info, "artifact_depends")["device_type"], "device_type")
        ]
        listed = [intake.map_of(item, "payloads") for item in intake.list_of(info["payloads"], "payloads")]
        payloads = [_text(item["type"] or "") for item in listed]
    except (KeyError, TypeError, InvalidError) as error:
        msg = "The artifact's header-info lacks artifact_name, device_type or payloads."
        raise RefusedBundleError(msg) from error
    if len(payloads) != 1:
        _refuse(_SEVERAL if payloads else "has no payload in its header-info")
    if not isinstance(kind, dict):
        _refuse("has no type-info in its header")
    if (kind.get("type") or payloads[0]) != payloads[0]:
        _refuse("has one type of payload in header-info and another in type-info")
    return {
        "artifact": name,
        "hardware": devices,
        "payloads": payloads,
        "provides": _pairs(info["artifact_provides"], kind.get("artifact_provides"), leave_out="artifact_name"),
        "depends": _pairs(info["artifact_depends"], kind.get("artifact_depends"), leave_out="device_type"),
        "clears": [_text(provide) for provide in kind.get("clears_artifact_provides") or ()],
    }


def _part(info: Mapping[str, object], name: str) -> dict[str, object]:
    return intake.map_of(info[name], name)


def _pairs(*documents: object, leave_out: str) -> dict[str, object]:
    """Return what an artifact provides or depends on, of both documents."""
    pairs: dict[str, object] = {}
    for document in documents:
        if document is None:
            continue
        if not isinstance(document, dict):
            _refuse("has a provides or depends that is not a map")
        if len(document) > _MOST_PAIRS:
            _refuse(f"has {len(document)} provides or depends entries; the limit is {_MOST_PAIRS}")
        pairs |= {
            _text(key): [_text(each) for each in value] if isinstance(value, list) else _text(value)
            for key, value in document.items()
        }
    pairs.pop(leave_out, None)
    return pairs


def _text(value: object) -> str:
    if not isinstance(value, str):
        _refuse("has a number, a list or a map where its header needs a string")
    return value


def _refuse(why: str) -> NoReturn:
    msg = f"The artifact {why}. Write it with `mender-artifact`."
    raise RefusedBundleError(msg)
