"""The facts about a bundle, from its format's inspection and later checks.

They travel as JSON from the verifier's process and are stored with the bundle (``Bundle.facts``). Which ones are there
depends on the format; a bundle that an older Muster inspected may lack some.
"""

from collections.abc import Mapping, Sequence
from typing import TypedDict


class PortFacts(TypedDict, total=False):
    """One input or output of a model.

    Args:
        name: of the tensor.
        dtype: its type, as the format calls it.
        shape: its dimensions; a word for one that is variable.
        scale: of a quantised tensor, as a decimal text; None for another.
        zero_point: of a quantised tensor.
        unreadable: why its quantisation cannot be read.
    """

    name: str
    dtype: str
    shape: Sequence[int | str]
    scale: str | None
    zero_point: int | None
    unreadable: str


class Arena(TypedDict, total=False):
    """The memory for a model's tensors, in bytes.

    Args:
        head: predicted for activations.
        tail: predicted for what stays.
        predicted: their sum.
        measured: what the reference interpreter took.
        need: what counts.
        source: where ``need`` comes from: ``declared``, ``measured``, ``predicted``, ``reported``, ``not measured``.
    """

    head: int
    tail: int
    predicted: int
    measured: int
    need: int
    source: str


class OperatorUse(TypedDict):
    """How often a model uses an operator, and the highest version of it."""

    count: int
    version: int


class ClassLabels(TypedDict):
    """One list of class names inside a model: where, how many, the SHA-256 of all, and the first ones."""

    of: str
    count: int
    sha256: str
    labels: list[str]


class TrialFacts(TypedDict):
    """The result of running a model here: whether ``tool`` runs it, and why not."""

    runs: bool
    message: str
    tool: str


class GoldenFacts(TypedDict):
    """Golden vectors that matched: how many, and the largest tolerance as a string."""

    cases: int
    tolerance: str


class SelectionFacts(TypedDict):
    """What a SWUpdate archive installs for one board, set and mode, on which hardware revisions."""

    board: str
    set: str
    mode: str
    hardware: list[str]
    members: list[list[str]]
    variables: list[str]


class SoftwareBill(TypedDict, total=False):
    """A bill of materials: format, number of components, the first of them, licences by number, a model's card."""

    format: str
    components: int
    first: list[dict[str, str]]
    licences: dict[str, int]
    card: Mapping[str, object]


class PartFacts(TypedDict):
    """A part of a composite bundle, by its names and the SHA-256 of its ``bundle.json``."""

    component: str
    id: str
    version: str
    digest: str


class FirmwareFacts(TypedDict, total=False):
    """Facts of firmware formats (MCUboot, ESP, RAUC, SWUpdate, Mender)."""

    security_counter: int
    vendor_id: str | None
    class_id: str | None
    dependencies: list[Mapping[str, object]]
    payload_bytes: int
    chip_id: int
    segments: int
    hashed: bool
    project: str
    compatible: str
    images: list[str]
    files: list[str] | Mapping[str, int]
    hooks: list[str]
    handler: str
    adaptive: list[str]
    hardware: list[str]
    selections: list[SelectionFacts]
    scripts: list[str]
    sizes: Mapping[str, int]
    artifact: str
    payloads: list[str]
    provides: Mapping[str, object]
    depends: Mapping[str, object]
    clears: list[str]
    advice: str


class ModelFacts(TypedDict, total=False):
    """Facts of model formats (TensorFlow Lite, ONNX, a signed folder of either)."""

    inner: str
    schema: int
    ir_version: int
    opset: Mapping[str, int]
    description: str
    operators: Mapping[str, OperatorUse]
    custom: list[str]
    custom_operators: list[str]
    functions: int
    inputs: list[PortFacts]
    outputs: list[PortFacts]
    dtypes: list[str]
    class_labels: list[ClassLabels]
    labels: list[str]
    weights: Mapping[str, int]
    quantisation: str
    subgraphs: int
    tensors: int
    nodes: int
    arena: Arena
    trial: TrialFacts
    golden: GoldenFacts
    changes: list[str]


class ConfigurationFacts(TypedDict, total=False):
    """What a configuration sets: fingerprints of roots, devices to wipe, where devices are sent, further orders."""

    anchors: list[str]
    wipe: list[str]
    server: str | None
    orders: Mapping[str, object]


class BundleFacts(FirmwareFacts, ModelFacts, ConfigurationFacts, total=False):
    """The facts that a bundle declares itself.

    Args:
        version: as the format's own header has it.
        version_note: what a version is that the header cannot say.
        flash: bytes that it takes on a device.
        signer: name of the trust key or signing CA that verified it.
        signer_certificate: SHA-256 of the signer's certificate in hex, below a CA.
        signer_serial: serial of that certificate in hex.
        parts: of a composite.
        order: where it goes back behind what was published before.
        sbom: its bill of materials.
        fit: hardware model's name to the reasons against the bundle, at its upload.
    """

    version: str
    version_note: str
    flash: int
    signer: str
    signer_certificate: str
    signer_serial: str
    parts: list[PartFacts]
    order: list[str]
    sbom: SoftwareBill
    fit: Mapping[str, Sequence[Mapping[str, object]]]
