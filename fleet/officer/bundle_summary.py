"""Describe every field of a ``bundle.json`` for the officer who signs it.

Everything that is signed is shown: each field has its line, and an unknown field is refused. A test compares ``KNOWN``
with the fields that the server reads.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

from ota.contract.bundle_documents import BundleDocument
from pki.kernel.errors import InvalidError

Known = Mapping[str, "Known | None"]
#: field -> None for a value or a list of values; otherwise the fields of the object, or of each object in a list
KNOWN: Known = {
    "schema": None,
    "id": None,
    "version": None,
    "kind": None,
    "format": None,
    "component": None,
    "security_counter": None,
    "audience": None,
    "hw": {"vendor_id": None, "class_id": None, "name": None, "rev": None},
    "files": {"path": None, "size": None, "sha256": None, "role": None},
    "requires": {"component": None, "min_counter": None, "max_counter": None},
    "fit": {"flash": None, "arena": None, "labels": None},
    "acknowledges": None,
    "eval": {"metric": None, "minimum": None, "window": None, "golden": None},
    "min_runtime": {"agent": None, "bootloader": None, "tflm_schema": None},
    "licence": None,
    "support_until": None,
    "sbom": None,
}
#: groups and facts -> displayed text
_GROUPS: dict[Literal["fit", "min_runtime", "eval"], str] = {
    "fit": "memory that it needs (bytes)",
    "min_runtime": "requires at least",
    "eval": "evaluation",
}
_FACTS: dict[Literal["support_until", "licence", "sbom"], str] = {
    "support_until": "supported until",
    "licence": "licence",
    "sbom": "bill of materials",
}
#: finding that the author and the officers accept by name -> displayed text
_ACCEPTED = {
    "arena-below-measured": "the declared arena is smaller than the arena that the model used when it ran",
    "wide-tolerance": "the tolerance of the golden vectors is too wide to detect a broken model",
    "io-changed": "inputs or outputs differ from the previous model in shape, type, scale or zero point",
    "labels-changed": "labels or their order differ from the previous model",
    "version-goes-back": "the version looks OLDER than the version of a published bundle",
    "counter-goes-back": "the security counter is LOWER than the counter of a published bundle",
}


def bundle_lines(value: BundleDocument) -> Iterator[str]:
    """Yield the lines that describe a ``bundle.json``.

    Raises:
        InvalidError: it has an unknown field, or a value of another shape.
    """
    refuse_unshown(value, KNOWN, "bundle.json")
    yield f"  {value.get('id')} version {value.get('version')}, bundle.json schema {value.get('schema')}"
    yield f"  {value.get('kind')}, format {value.get('format')}, security counter {value.get('security_counter')}"
    yield f"  for {_joined(value.get('audience', []))}, component {value.get('component')}"
    for model in value.get("hw", []):
        revision = f", only revision {model['rev']}" if model.get("rev") else ""
        known = f"hardware class {model.get('class_id')}, vendor {model.get('vendor_id')}{revision}"
        yield f"  on {model.get('name')} ({known})"
    for need in value.get("requires", []):
        most = f" and at most {need['max_counter']}" if need.get("max_counter") is not None else ""
        yield f"  requires {need.get('component')} with a security counter of at least {need.get('min_counter')}{most}"
    for file in value.get("files", []):
        yield f"  {file.get('role')} {file.get('path')}: {file.get('size')} bytes, sha256 {file.get('sha256')}"
    for word in value.get("acknowledges", []):
        yield f"  ACKNOWLEDGES {word}: {_ACCEPTED.get(word, 'overrides a finding of the server')}"
    yield from _groups(value)
    for name, words in _FACTS.items():
        if name in value:
            yield f"  {words} {value[name]}"


def _groups(value: BundleDocument) -> Iterator[str]:
    for index, label in enumerate(value.get("fit", {}).get("labels", [])):
        yield f"  label {index} is {label}"
    for name, words in _GROUPS.items():
        if name in value:
            said = (f"{key} {one}" for key, one in sorted(value[name].items()) if key != "labels")
            yield f"  {words}: {', '.join(said)}"


def refuse_unshown(value: object, known: "Known | None", place: str) -> None:
    """Refuse a field that would be signed but not shown, and an object in place of a value.

    Args:
        value: the value to check.
        known: the known fields of an object, or None for a value or a list of values.
        place: path of the value, for the error.

    Raises:
        InvalidError: it names the first such field.
    """
    for one in value if isinstance(value, list) else [value]:
        if isinstance(one, list) or isinstance(one, dict) != (known is not None):
            msg = f"Do not sign this request: {place[:80]} does not have the expected shape (object, value or list)."
            raise InvalidError(msg)
        for name, inner in one.items() if isinstance(one, dict) else ():
            if known is None or name not in known:
                msg = f"Do not sign this request: {place}.{name[:60]} is an unknown field."
                raise InvalidError(msg)
            refuse_unshown(inner, known[name], f"{place}.{name}")


def _joined(values: Iterable[object]) -> str:
    return ", ".join(map(str, values))
