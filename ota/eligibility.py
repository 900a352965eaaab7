"""Why a device does not receive a bundle: one type of reason for planning, offers, pages, API and log. Pure.

A reason has a kind that programs compare, a phrase for people, and the facts that the phrase is made of. Rules stand
where their facts are: what officers signed in ``ota.trust``, what hardware can run in ``ota.fit``, what rows say in
``ota.selectors.eligibility``, which asks all of them in order.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class ObstacleKind(StrEnum):
    """Why a bundle is not eligible; stable words, which programs may compare."""

    # What release officers have signed, or not.
    OTHER_DOMAIN = "other_domain"
    NOT_SIGNED = "not_signed"
    WITHDRAWN = "withdrawn"
    SIGNATURES_EXPIRED = "signatures_expired"
    DOCUMENTS_UNREADABLE = "documents_unreadable"
    ROOT_EXCHANGED = "root_exchanged"
    ROWS_DIFFER = "rows_differ"
    SIGNED_FOR_OTHER_HARDWARE = "signed_for_other_hardware"
    SIGNED_FOR_OTHER_AUDIENCE = "signed_for_other_audience"
    BELOW_FLOOR = "below_floor"
    PART_UNREADABLE = "part_unreadable"
    # What the hardware model, and the firmware on it, can run.
    NOT_MEASURED = "not_measured"
    FLASH_EXCEEDED = "flash_exceeded"
    ARENA_EXCEEDED = "arena_exceeded"
    RUNTIME_MISMATCH = "runtime_mismatch"
    SCHEMA_UNSUPPORTED = "schema_unsupported"
    OP_MISSING = "op_missing"
    OP_VERSION = "op_version"
    CUSTOM_OP = "custom_op"
    DTYPE_UNSUPPORTED = "dtype_unsupported"
    DOES_NOT_RUN = "does_not_run"
    NEEDS_FIRMWARE = "needs_firmware"
    IO_MISMATCH = "io_mismatch"
    LABELS_MISMATCH = "labels_mismatch"
    # What the device is, and what it reports.
    OTHER_HARDWARE = "other_hardware"
    MISFIT = "incompatibility"
    OTHER_AUDIENCE = "other_audience"
    NOT_ACTIVE = "not_active"
    QUARANTINED = "quarantined"
    INSTALLS_NO_COMPOSITES = "installs_no_composites"
    NEEDS_COMPONENT = "needs_component"
    RUNS_ALREADY = "runs_already"
    # What people have decided about release and rollout.
    RELEASE_WITHDRAWN = "release_withdrawn"
    PART_WITHDRAWN = "part_withdrawn"
    PARTS_INCOMPLETE = "parts_incomplete"
    ROLLOUT_NOT_RUNNING = "rollout_not_running"


#: kinds that signed documents decide, so that what differs from them is worth a line in the log
BY_OFFICERS = frozenset(
    {
        ObstacleKind.OTHER_DOMAIN,
        ObstacleKind.NOT_SIGNED,
        ObstacleKind.WITHDRAWN,
        ObstacleKind.SIGNATURES_EXPIRED,
        ObstacleKind.DOCUMENTS_UNREADABLE,
        ObstacleKind.ROOT_EXCHANGED,
        ObstacleKind.ROWS_DIFFER,
        ObstacleKind.SIGNED_FOR_OTHER_HARDWARE,
        ObstacleKind.SIGNED_FOR_OTHER_AUDIENCE,
        ObstacleKind.BELOW_FLOOR,
        ObstacleKind.PART_UNREADABLE,
    }
)
#: each kind as a phrase that follows "because", with the facts that it contains
_PHRASES: Mapping[ObstacleKind, str] = {
    ObstacleKind.OTHER_DOMAIN: "it belongs to another trust domain",
    ObstacleKind.NOT_SIGNED: "the release officers have not signed it",
    ObstacleKind.WITHDRAWN: "the release officers have withdrawn it: {why}",
    ObstacleKind.SIGNATURES_EXPIRED: "the officers' {document} has expired; they have to sign it again",
    ObstacleKind.DOCUMENTS_UNREADABLE: "the officers' documents cannot be verified: {why}",
    ObstacleKind.ROOT_EXCHANGED: "the first root was replaced while the server was running; restore the folder `tuf`",
    ObstacleKind.ROWS_DIFFER: "its database rows differ from what the release officers signed",
    ObstacleKind.SIGNED_FOR_OTHER_HARDWARE: "the release officers have signed it for other hardware",
    ObstacleKind.SIGNED_FOR_OTHER_AUDIENCE: "the release officers have signed it for {audiences} only",
    ObstacleKind.BELOW_FLOOR: "its security counter {counter} is below the floor {floor} that officers signed",
    ObstacleKind.PART_UNREADABLE: "{why}",
    ObstacleKind.NOT_MEASURED: "its arena size is unknown; declare it as `fit.arena` in bundle.json",
    ObstacleKind.FLASH_EXCEEDED: "it needs {need} bytes of flash ({source}) and {have} are available",
    ObstacleKind.ARENA_EXCEEDED: "it needs {need} bytes of tensor arena ({source}) and {have} are available",
    ObstacleKind.RUNTIME_MISMATCH: "it is for {need} and the firmware runs {have}",
    ObstacleKind.SCHEMA_UNSUPPORTED: "its schema is {need} and the firmware supports up to {have}",
    ObstacleKind.OP_MISSING: "the firmware has no operator {need}",
    ObstacleKind.OP_VERSION: "operator {subject} has version {need} and the firmware supports up to {have}",
    ObstacleKind.CUSTOM_OP: "the firmware has no custom operator {need}",
    ObstacleKind.DTYPE_UNSUPPORTED: "the firmware does not support {need}",
    ObstacleKind.DOES_NOT_RUN: "{source} does not run it: {need}; if its firmware has another interpreter "
    "or custom operators, declare them in its runtime profile",
    ObstacleKind.NEEDS_FIRMWARE: "it depends on {subject} with a security counter of at least {need}, and the newest "
    "release has {have}",
    ObstacleKind.IO_MISMATCH: "{subject} is {need} and the application uses {have}",
    ObstacleKind.LABELS_MISMATCH: "it declares {need}, and the application expects {have} labels in its own order",
    ObstacleKind.OTHER_HARDWARE: "the bundle is not for this hardware",
    ObstacleKind.MISFIT: "the bundle is incompatible with {hardware}: {why}",
    ObstacleKind.OTHER_AUDIENCE: "the bundle is signed for {audiences} only",
    ObstacleKind.NOT_ACTIVE: "the device is {state}",
    ObstacleKind.QUARANTINED: "the device is quarantined",
    ObstacleKind.INSTALLS_NO_COMPOSITES: "its update client cannot install composite bundles",
    ObstacleKind.NEEDS_COMPONENT: "it must first install {component} with a security counter of at least {counter}",
    ObstacleKind.RUNS_ALREADY: "it already runs this version",
    ObstacleKind.RELEASE_WITHDRAWN: "its release was withdrawn",
    ObstacleKind.PART_WITHDRAWN: "its part {part} was withdrawn",
    ObstacleKind.PARTS_INCOMPLETE: "one of its parts was withdrawn or deleted",
    ObstacleKind.ROLLOUT_NOT_RUNNING: "its rollout is {state}",
}


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a device, or every device of a hardware model, does not receive a bundle.

    Args:
        kind: of the reason.
        sentence: the same for people: a phrase that follows "because", without a full stop.
        context: the facts in it. Of what hardware can run: ``need`` and ``have`` (bytes, a version, or a name),
            ``source`` of the need (``file``, ``declared``, ``reported`` by devices, ``measured``, ``predicted``, or the
            program that says so) and ``subject``, what is compared.
    """

    kind: ObstacleKind
    sentence: str
    context: Mapping[str, object] = field(default_factory=dict, hash=False)

    def __str__(self) -> str:
        """Return it for people."""
        return self.sentence

    def to_dict(self) -> dict[str, object]:
        """Return it as JSON values: ``code``, the facts, and ``text``."""
        return {"code": self.kind.value, **self.context, "text": self.sentence}


def make_reason(kind: ObstacleKind, **context: int | str) -> Reason:
    """Return a reason, its phrase made of its facts."""
    return Reason(kind, _PHRASES[kind].format(**context), context)


def incompatibility(
    kind: ObstacleKind, need: int | str, have: int | str = "", source: str = "file", subject: str = ""
) -> Reason:
    """Return what a bundle needs and a hardware model lacks; see ``Reason`` for the facts."""
    return make_reason(kind, need=need, have=have, source=source, subject=subject)


def of_part(part: str, why: Reason) -> Reason:
    """Return a reason against a composite that holds for one of its parts."""
    return Reason(why.kind, f"in its part {part}: {why.sentence}", {**why.context, "part": part})


def of_hardware(hardware: str, why: Iterable[Reason]) -> Reason | None:
    """Return why a bundle is incompatible with a hardware model as one reason, or None if it is compatible."""
    reasons = list(why)
    if not reasons:
        return None
    told = make_reason(ObstacleKind.MISFIT, hardware=hardware, why="; ".join(reason.sentence for reason in reasons))
    return Reason(
        ObstacleKind.MISFIT, told.sentence, {"hardware": hardware, "reasons": [reason.to_dict() for reason in reasons]}
    )


def join_audiences(words: Iterable[str]) -> str:
    """Return audiences as a phrase."""
    return " and ".join(words)
