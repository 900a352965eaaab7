"""Read ``bundle.json`` strictly: unknown fields, duplicate keys, floats and odd paths are refused."""

import re
from collections.abc import Mapping, Sequence
from datetime import date
from uuid import UUID

from devices import labels
from devices.names import AUDIENCES
from ota.contract import composite
from ota.errors import ManifestError
from ota.manifest.document import FileEntry, Hardware, Manifest, ModelNeeds, Requirement
from ota.manifest.fields import Fields
from ota.manifest.paths import MOST_BYTES, SWU, check_path, check_paths
from pki.kernel import canonical
from pki.kernel.names import SLUG, wrong_version

MAX_MANIFEST = 256 * 1024
MAX_FILES = 64
MAX_COUNTER = 2**31 - 1
MAX_FILE = 2**40
KINDS = ("firmware", "model", "config", "composite")
FORMATS: Mapping[str, tuple[str, ...]] = {
    "firmware": ("mcuboot", "esp", "swu", "rauc", "mender", "generic"),
    "model": ("tflite", "onnx", "oms", "generic"),
    "config": ("config",),
    "composite": ("composite",),
}
#: the slots of configurations and of lists of parts; nothing else is written there
CONFIG = "config"
SLOTS = {CONFIG, composite.COMPONENT}
ROLES = ("image", "signature", "golden", "sbom", "provenance", "asset")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_DECIMAL = re.compile(r"-?[0-9]{1,9}(\.[0-9]{1,9})?")
#: what an author may acknowledge by name and officers sign; otherwise the bundle is refused
ARENA_BELOW_MEASURED, WIDE_TOLERANCE = "arena-below-measured", "wide-tolerance"
IO_CHANGED, LABELS_CHANGED = "io-changed", "labels-changed"
VERSION_GOES_BACK, COUNTER_GOES_BACK = "version-goes-back", "counter-goes-back"
#: of any bundle; the others belong to models
_OF_ANY = {VERSION_GOES_BACK, COUNTER_GOES_BACK}
ACKNOWLEDGED = (ARENA_BELOW_MEASURED, WIDE_TOLERANCE, IO_CHANGED, LABELS_CHANGED, VERSION_GOES_BACK, COUNTER_GOES_BACK)


def parse_manifest(data: bytes) -> Manifest:
    """Return the manifest that these bytes say.

    Raises:
        InvalidError: the bytes are no strict JSON.
        ManifestError: a field is missing, unknown or wrong; the sentence names it.
    """
    raw = canonical.loads(data, max_bytes=MAX_MANIFEST)
    fields = Fields(raw, "bundle.json")
    if fields.integer("schema", 1, MAX_COUNTER) != 1:
        msg = "bundle.json: only schema 1 is known."
        raise ManifestError(msg)
    kind = _known(fields, "kind", KINDS)
    manifest = Manifest(
        id=fields.text("id", pattern=SLUG),
        version=_version(fields.text("version")),
        kind=kind,
        format=_known(fields, "format", FORMATS[kind]),
        component=fields.text("component", pattern=SLUG),
        security_counter=fields.integer("security_counter", 1, MAX_COUNTER),
        audience=_chosen(fields, "audience", AUDIENCES),
        hw=tuple(_hardware(item) for item in fields.items("hw", 1, 64)),
        files=tuple(_file(item) for item in fields.items("files", 1, MAX_FILES)),
        requires=tuple(_requirement(item) for item in fields.items("requires", 0, 16, optional=True)),
        fit=_fit(fields),
        acknowledges=_chosen(fields, "acknowledges", ACKNOWLEDGED) if fields.has("acknowledges") else (),
        raw=raw if isinstance(raw, dict) else {},
    )
    _describe(fields)
    fields.done()
    _agree(manifest)
    return manifest


def _version(version: str) -> str:
    if why := wrong_version(version):
        msg = f"bundle.json: the version {version[:80]!r} is refused: {why}."
        raise ManifestError(msg)
    return version


def _known(fields: Fields, name: str, known: tuple[str, ...]) -> str:
    value = fields.text(name)
    if value not in known:
        msg = f"bundle.json: {name} must be one of {', '.join(known)}."
        raise ManifestError(msg)
    return value


def _chosen(fields: Fields, name: str, known: Sequence[str]) -> tuple[str, ...]:
    """Take a list of known words, each at most once."""
    values = fields.texts(name, 1, len(known))
    if not set(values) <= set(known) or len(set(values)) != len(values):
        msg = f"bundle.json: {name} may list each of {', '.join(known)} at most once."
        raise ManifestError(msg)
    return tuple(values)


def _hardware(fields: Fields) -> Hardware:
    hardware = Hardware(
        vendor_id=_uuid(fields, "vendor_id"),
        class_id=_uuid(fields, "class_id"),
        name=fields.text("name", longest=100),
        rev=fields.text("rev", longest=40, optional=True),
    )
    fields.done()
    return hardware


def _uuid(fields: Fields, name: str) -> UUID:
    text = fields.text(name, longest=36)
    try:
        value = UUID(text)
    except ValueError:
        value = None
    if value is None or str(value) != text:
        msg = f"{fields.place}: {name} must be a UUID in its usual lower-case form."
        raise ManifestError(msg)
    return value


def _file(fields: Fields) -> FileEntry:
    file = FileEntry(
        path=check_path(fields.text("path", longest=MOST_BYTES)),
        size=fields.integer("size", 1, MAX_FILE),
        sha256=fields.text("sha256", pattern=_DIGEST),
        role=fields.text("role"),
    )
    if file.role not in ROLES:
        msg = f"{fields.place}: role must be one of {', '.join(ROLES)}."
        raise ManifestError(msg)
    fields.done()
    return file


def _requirement(fields: Fields) -> Requirement:
    requirement = Requirement(
        component=fields.text("component", pattern=SLUG),
        min_counter=fields.integer("min_counter", 0, MAX_COUNTER),
        max_counter=fields.integer("max_counter", 0, MAX_COUNTER) if fields.has("max_counter") else None,
    )
    fields.done()
    return requirement


def _fit(fields: Fields) -> ModelNeeds:
    if not fields.has("fit"):
        return ModelNeeds()
    inner = fields.group("fit")
    needs = ModelNeeds(
        flash=inner.integer("flash", 1, MAX_FILE) if inner.has("flash") else 0,
        arena=inner.integer("arena", 1, MAX_FILE) if inner.has("arena") else 0,
        labels=_labels(inner) if inner.has("labels") else (),
    )
    inner.done()
    return needs


def _labels(fields: Fields) -> tuple[str, ...]:
    label_texts = fields.texts("labels", 1, labels.MOST)
    if not labels.are_labels(label_texts):
        msg = f"{fields.place}: labels must be {labels.RULE}."
        raise ManifestError(msg)
    return tuple(label_texts)


def _evaluation(fields: Fields) -> None:
    """Read the author's evaluation of a model: the metric, its lowest accepted value, and the number of windows."""
    inner = fields.group("eval")
    inner.text("metric", longest=60)
    inner.text("minimum", pattern=_DECIMAL)
    if inner.has("window"):
        inner.integer("window", 1, MAX_COUNTER)
    if inner.has("golden"):
        inner.text("golden", pattern=_DIGEST)
    inner.done()


def _describe(fields: Fields) -> None:
    """Read the fields that people and later checks use; they must be well-formed now."""
    fields.text("licence", longest=60, optional=True)
    fields.text("sbom", longest=MOST_BYTES, optional=True)
    until = fields.text("support_until", longest=10, optional=True)
    if until:
        try:
            date.fromisoformat(until)
        except ValueError as error:
            msg = "bundle.json: support_until must be a date such as 2030-12-31."
            raise ManifestError(msg) from error
    if fields.has("eval"):
        _evaluation(fields)
    if fields.has("min_runtime"):
        runtime = fields.group("min_runtime")
        for name in ("agent", "bootloader"):
            runtime.text(name, longest=40, optional=True)
        if runtime.has("tflm_schema"):
            runtime.integer("tflm_schema", 1, 1000)
        runtime.done()


def _agree(manifest: Manifest) -> None:
    """Check what no single field says."""
    check_paths(entry.path for entry in manifest.files)
    _agree_of_image(manifest)
    if (manifest.kind in SLOTS or manifest.component in SLOTS) and manifest.kind != manifest.component:
        msg = (
            "bundle.json: a configuration must have the component config and a composite the component composite; no "
            "other bundle may use them."
        )
        raise ManifestError(msg)
    classes = [(hardware.class_id, hardware.rev) for hardware in manifest.hw]
    if len(set(classes)) != len(classes):
        msg = "bundle.json: a hardware class appears twice in hw. Remove one."
        raise ManifestError(msg)
    _agree_of_models(manifest)
    sbom = manifest.raw.get("sbom")
    if sbom and not any(entry.path == sbom and entry.role == "sbom" for entry in manifest.files):
        msg = "bundle.json: sbom names a file that files does not list with the role sbom."
        raise ManifestError(msg)


def _agree_of_image(manifest: Manifest) -> None:
    """Check that there is one image, and that its client takes it by its name."""
    if [entry.role for entry in manifest.files].count("image") != 1:
        msg = "bundle.json: exactly one file has the role image."
        raise ManifestError(msg)
    if manifest.format == "swu" and not manifest.image.path.endswith(SWU):
        msg = f"bundle.json: SWUpdate installs only files named *{SWU}. Rename {manifest.image.path[:60]!r}."
        raise ManifestError(msg)


def _agree_of_models(manifest: Manifest) -> None:
    """Check what only models have: fit, evaluation, golden vectors."""
    evaluation, golden = manifest.raw.get("eval"), [file for file in manifest.files if file.role == "golden"]
    named = set(manifest.acknowledges) - _OF_ANY
    if manifest.kind != "model" and (manifest.fit != ModelNeeds() or evaluation or golden or named):
        what = ", ".join(["fit, eval, golden vectors", *sorted(named)])
        msg = f"bundle.json: these belong to models only: {what}. Remove them."
        raise ManifestError(msg)
    if len(golden) > 1 or (golden and manifest.format not in {"tflite", "oms"}):
        msg = "bundle.json: at most one file of golden vectors is allowed, and only for TensorFlow Lite models."
        raise ManifestError(msg)
    digest = evaluation.get("golden") if isinstance(evaluation, dict) else None
    if digest and [file.sha256 for file in golden] != [digest]:
        msg = "bundle.json: eval names golden vectors that files does not list with the role golden."
        raise ManifestError(msg)
