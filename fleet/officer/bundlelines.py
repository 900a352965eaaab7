"""Say everything that a ``bundle.json`` says, for the officer who is about to vouch for it.

What is signed is what is shown: each field has its line, and a field that this tool does not know is refused. A test
compares ``KNOWN`` with what the server reads.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

from ota.contract.bundle_documents import BundleDocument
from pki.kernel.errors import InvalidError

Known = Mapping[str, "Known | None"]
#: field -> None for a value or a list of values, else the fields of the group or of each group in a list
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
#: groups and facts -> in words
_GROUPS: dict[Literal["fit", "min_runtime", "eval"], str] = {
    "fit": "needs of a device (bytes)",
    "min_runtime": "needs at least",
    "eval": "evaluation",
}
_FACTS: dict[Literal["support_until", "licence", "sbom"], str] = {
    "support_until": "supported until",
    "licence": "licence",
    "sbom": "bill of materials",
}
#: what author and officers accept by name -> in words
_ACCEPTED = {
    "arena-below-measured": "the declared arena is smaller than what the model took when it was run",
    "wide-tolerance": "golden vectors whose tolerance would hardly notice a broken model",
    "io-changed": "inputs or outputs differ from the model before it in shape, type, scale or zero point",
    "labels-changed": "labels differ from the model before it, or are in another order",
    "version-goes-back": "the version looks OLDER than that of a bundle which was published before it",
    "counter-goes-back": "the security counter is LOWER than that of a bundle which was published before it",
}


def bundle_lines(value: BundleDocument) -> Iterator[str]:
    """Yield a line for each thing that a ``bundle.json`` says.

    Raises:
        InvalidError: it holds a field that this tool does not know, or a value of another shape.
    """
    refuse_unknown(value, KNOWN, "bundle.json")
    yield f"  {value.get('id')} version {value.get('version')}, bundle.json schema {value.get('schema')}"
    yield f"  {value.get('kind')} in the format {value.get('format')}, security counter {value.get('security_counter')}"
    yield f"  for {_joined(value.get('audience', []))}, in the component {value.get('component')}"
    for model in value.get("hw", []):
        revision = f", revision {model['rev']} only" if model.get("rev") else ""
        known = f"hardware class {model.get('class_id')}, vendor {model.get('vendor_id')}{revision}"
        yield f"  on {model.get('name')} ({known})"
    for need in value.get("requires", []):
        most = f" and at most {need['max_counter']}" if need.get("max_counter") is not None else ""
        yield f"  only beside {need.get('component')} with a counter of at least {need.get('min_counter')}{most}"
    for file in value.get("files", []):
        yield f"  {file.get('role')} {file.get('path')}: {file.get('size')} bytes, sha256 {file.get('sha256')}"
    for word in value.get("acknowledges", []):
        yield f"  ACKNOWLEDGES {word}: {_ACCEPTED.get(word, 'a finding of the server that is overridden')}"
    yield from _groups(value)
    for name, words in _FACTS.items():
        if name in value:
            yield f"  {words} {value[name]}"


def _groups(value: BundleDocument) -> Iterator[str]:
    for place, label in enumerate(value.get("fit", {}).get("labels", [])):
        yield f"  label {place} is {label}"
    for name, words in _GROUPS.items():
        if name in value:
            said = (f"{key} {one}" for key, one in sorted(value[name].items()) if key != "labels")
            yield f"  {words}: {', '.join(said)}"


def refuse_unknown(value: object, known: "Known | None", place: str) -> None:
    """Refuse a field that would be signed and not shown, and a group where a value belongs.

    Args:
        value: what was read.
        known: the fields of a group, or None where a value or a list of values belongs.
        place: for the sentence.

    Raises:
        InvalidError: it names the first one.
    """
    for one in value if isinstance(value, list) else [value]:
        if isinstance(one, list) or isinstance(one, dict) != (known is not None):
            msg = f"Do not sign this request: {place[:80]} has a shape that this tool does not know."
            raise InvalidError(msg)
        for name, inner in one.items() if isinstance(one, dict) else ():
            if known is None or name not in known:
                msg = f"Do not sign this request: {place}.{name[:60]} is a field that this tool does not know."
                raise InvalidError(msg)
            refuse_unknown(inner, known[name], f"{place}.{name}")


def _joined(values: Iterable[object]) -> str:
    return ", ".join(map(str, values))
