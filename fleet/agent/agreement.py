"""Check that the director and the release officers agree on what this device installs. Rules only, no I/O."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypedDict, cast

from tuf.api.metadata import TargetFile, Targets

from fleet.agent.errors import RefusedError
from fleet.agent.slots import SlotImage
from fleet.agent.state import Settings
from ota.contract import composite, golden
from ota.contract.bundle_documents import BundleDocument
from ota.contract.field_names import FLOORS_FIELD

#: longest bundle.json in bytes
MAX_BUNDLE = 256 * 1024
#: action numbers and security counters are 1 to 2**31 - 1 (docs/reference/device-protocol/director.md)
MOST_NUMBER = 2**31 - 1
#: longest image in bytes
MOST_LENGTH = 1 << 40
_DIGEST = re.compile(r"[0-9a-f]{64}")
_COMPONENT = re.compile(r"[a-z0-9][a-z0-9._-]{0,59}")


@dataclass(frozen=True, slots=True)
class OfferedPatch:
    """A patch that produces the signed image. Only the director names it: the hash of the image decides.

    Args:
        format: patch format.
        base: SHA-256 of the image to patch; empty for a compressed image.
        length: in bytes.
        sha256: SHA-256 of the patch.
    """

    format: str
    base: str
    length: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Golden:
    """The golden vectors of a model, as the officers' bundle lists them: length in bytes, SHA-256 in hex."""

    length: int
    sha256: str


@dataclass(frozen=True, slots=True)
class SignedAssignment:
    """What this device installs, agreed by the director and the repository."""

    action: int
    kind: str
    component: str
    path: str
    length: int
    sha256: str
    counter: int
    version: str
    patch: OfferedPatch | None = None
    golden: Golden | None = None
    requires: tuple[tuple[str, int, int | None], ...] = ()


class Newest(TypedDict):
    """Versions of the newest update metadata that the director knows."""

    timestamp: int
    snapshot: int


class DirectorRow(TypedDict):
    """The director's entry for one bundle, checked by ``check_entry``; ``delta`` is already parsed."""

    action: int
    kind: str
    component: str
    target: str
    length: int
    sha256: str
    hw: str
    counter: int
    version: str
    delta: OfferedPatch | None


class _Names(TypedDict):
    component: str
    counter: int
    version: str


def check_entry(value: Any) -> DirectorRow:  # untyped: a missing field becomes a refusal
    """Return an entry of the director's document after checking the type of every field.

    Raises:
        KeyError: a field is missing.
        TypeError: a field has another type.
        ValueError: digest or component is malformed.
    """
    kinds = {"action": int, "kind": str, "component": str, "target": str, "length": int, "sha256": str}
    kinds |= {"hw": str, "counter": int, "version": str}
    for name, kind in kinds.items():
        if type(value[name]) is not kind:
            msg = f"`{name}` has the wrong type"
            raise TypeError(msg)
    if not _DIGEST.fullmatch(value["sha256"]) or not _COMPONENT.fullmatch(value["component"]):
        msg = "`sha256` or `component` is malformed"
        raise ValueError(msg)
    for name, most in {"action": MOST_NUMBER, "counter": MOST_NUMBER, "length": MOST_LENGTH}.items():
        if not 0 < value[name] <= most:
            msg = f"`{name}` must be between 1 and {most}"
            raise ValueError(msg)
    return cast("DirectorRow", {**value, "delta": parse_patch(value.get("delta"))})


def parse_patch(value: object) -> OfferedPatch | None:
    """Return the patch of an entry, or None to fetch the whole image."""
    kinds = {"format": str, "base": str, "length": int, "sha256": str}
    if not isinstance(value, dict) or any(type(value.get(name)) is not kind for name, kind in kinds.items()):
        return None
    good = _DIGEST.fullmatch(value["sha256"]) and (not value["base"] or _DIGEST.fullmatch(value["base"]))
    return OfferedPatch(**{name: value[name] for name in kinds}) if good else None


def check_newest(value: Newest) -> None:
    """Check the director's versions of the newest timestamp and snapshot.

    Raises:
        KeyError: one is missing.
        TypeError: one is not a number.
    """
    if any(type(number) is not int for number in (value["timestamp"], value["snapshot"])):
        msg = "`newest` must contain the versions of timestamp and snapshot"
        raise TypeError(msg)


def find_listed(path: str, target: TargetFile | None) -> TargetFile:
    """Return the entry of a path in the officers' hash bin, if it is listed and not withdrawn.

    Raises:
        RefusedError: the path is not listed, or it is withdrawn.
    """
    if target is None:
        msg = f"{path} is not signed by the release officers"
        raise RefusedError(msg)
    custom = target.custom
    if isinstance(custom, dict) and "withdrawn" in custom:
        msg = f"{path} is withdrawn by the release officers: {str(custom['withdrawn'])[:200]}"
        raise RefusedError(msg)
    if target.length > MAX_BUNDLE:
        msg = f"the bundle.json of {path} is longer than this device accepts"
        raise RefusedError(msg)
    return target


def agree_assignment(row: DirectorRow, bundle: BundleDocument, settings: Settings) -> SignedAssignment:
    """Return the assignment if the officers' bundle matches the director's entry and is for this device.

    Args:
        row: entry of the director's document.
        bundle: ``bundle.json``, whose digest the officers signed.
        settings: of this device.

    Raises:
        RefusedError: they differ, or it is for other hardware or another audience.
        KeyError, TypeError: the bundle is malformed.
    """
    own = f"{bundle['component']}/{bundle['id']}/{bundle['version']}/bundle.json"
    if own != row["target"]:
        msg = f"{row['target']} contains the bundle of another path: {own[:200]}"
        raise RefusedError(msg)
    image = next(file for file in bundle["files"] if file["role"] == "image")
    if image["size"] != row["length"] or image["sha256"] != row["sha256"]:
        msg = f"director and signed targets differ about {row['target']}"
        raise RefusedError(msg)
    _demand_for(row, bundle, settings)
    if (bundle["kind"] == composite.COMPONENT) != (bundle["component"] == composite.COMPONENT):
        msg = f"{row['target']}: kind and component of the bundle do not match"
        raise RefusedError(msg)
    # The signed bundle decides what is installed and reported. The director supplies only the action and its kind.
    return SignedAssignment(
        action=row["action"],
        kind=row["kind"],
        path=row["target"],
        length=image["size"],
        sha256=image["sha256"],
        patch=row["delta"],
        golden=_golden(bundle),
        requires=_requires(bundle),
        **_named_alike(row, bundle),
    )


def _demand_for(row: DirectorRow, bundle: BundleDocument, settings: Settings) -> None:
    """Refuse a bundle for other hardware or for another audience."""
    if settings.hw_class not in {hardware["class_id"] for hardware in bundle["hw"]} or row["hw"] != settings.hw_class:
        msg = f"{row['target']} is for other hardware than this device"
        raise RefusedError(msg)
    if settings.audience not in bundle["audience"]:
        msg = f"{row['target']} is not signed for {settings.audience}"
        raise RefusedError(msg)


def _named_alike(row: DirectorRow, bundle: BundleDocument) -> _Names:
    """Return component, counter and version from the signed bundle if the director's entry matches.

    Raises:
        RefusedError: they differ.
    """
    signed: _Names = {
        "component": bundle["component"],
        "counter": bundle["security_counter"],
        "version": bundle["version"],
    }
    if row["component"] != signed["component"] or row["counter"] != signed["counter"]:
        msg = f"{row['target']} is signed for another component or security counter"
        raise RefusedError(msg)
    if row["version"] != signed["version"]:
        msg = f"{row['target']} is signed with version {signed['version']!r:.80}, but the director names another one"
        raise RefusedError(msg)
    return signed


def _requires(bundle: BundleDocument) -> tuple[tuple[str, int, int | None], ...]:
    return tuple(
        (requirement["component"], requirement["min_counter"], requirement.get("max_counter"))
        for requirement in bundle.get("requires", [])
    )


def row_of(bundle: BundleDocument, target: str, action: int, settings: Settings) -> DirectorRow:
    """Return the director's entry for a part of a composite, derived from the entry of the composite.

    Args:
        bundle: ``bundle.json`` of the part.
        target: path by which the composite names it.
        action: of the composite.
        settings: of this device.

    Raises:
        KeyError, StopIteration: the bundle is malformed.
        TypeError, ValueError: a field has another type or form.
    """
    image = next(file for file in bundle["files"] if file["role"] == "image")
    facts = {"action": action, "kind": "update", "component": bundle["component"], "target": target}
    facts |= {"length": image["size"], "sha256": image["sha256"], "hw": settings.hw_class}
    return check_entry({**facts, "counter": bundle["security_counter"], "version": bundle["version"]})


def _golden(bundle: BundleDocument) -> Golden | None:
    entry = next((file for file in bundle["files"] if file["role"] == "golden"), None)
    if entry is None:
        return None
    length, sha256 = entry["size"], entry["sha256"]
    if not isinstance(length, int) or not 0 < length <= golden.MAX_GOLDEN or not _DIGEST.fullmatch(sha256):
        msg = "the golden vectors of the bundle are longer than this device accepts"
        raise RefusedError(msg)
    return Golden(length, sha256)


def above_floor(assignment: SignedAssignment, targets: Targets, settings: Settings) -> None:
    """Refuse a bundle below the counter floor that the officers signed. Only officers can raise a floor.

    Raises:
        RefusedError: it is below the floor.
    """
    floors = targets.unrecognized_fields.get(FLOORS_FIELD, {})
    floor = floors.get(assignment.component, {}).get(settings.hw_class, 0)
    if assignment.counter < floor:
        msg = f"{assignment.path} has security counter {assignment.counter}, below the signed floor of {floor}"
        raise RefusedError(msg)


def check_dependencies(bundle: BundleDocument, installed: Mapping[str, int]) -> None:
    """Refuse a bundle whose required components are not installed.

    Args:
        bundle: ``bundle.json``.
        installed: component to the security counter of the installed image.

    Raises:
        RefusedError: it names the component that is missing, too old or too new.
    """
    for component, least, most in _requires(bundle):
        if why := _amiss(installed.get(component), least, most):
            msg = f"it requires {component} with a security counter of {why} is installed"
            raise RefusedError(msg)


def check_requirements(running: Mapping[str, SlotImage], coming: Mapping[str, int]) -> None:
    """Refuse a bundle that violates the requirements of an installed component: they apply in both directions.

    Args:
        running: component to the installed image.
        coming: component to the security counter of the new image.

    Raises:
        RefusedError: it names both components.
    """
    for name, image in running.items():
        for component, least, most in () if name in coming else image.requires:
            if component in coming and (why := _amiss(coming[component], least, most)):
                msg = f"the installed {name} requires {component} with a security counter of {why} would be installed"
                raise RefusedError(msg)


def _amiss(have: int | None, least: int, most: int | None) -> str:
    """Return the required and the available counter, or an empty text when they match."""
    if have is not None and have >= least and (most is None or have <= most):
        return ""
    bounds = f"at least {least}" if most is None else f"{least} to {most}"
    return f"{bounds}, but {'nothing' if have is None else f'counter {have}'}"
