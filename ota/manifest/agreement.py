"""Does what the verifier found in an artefact agree with what ``bundle.json`` says of it? Pure."""

import re
from collections.abc import Callable, Mapping

from ota.errors import RefusedBundleError
from ota.facts import Arena, SelectionFacts
from ota.fit import arena_margin
from ota.formats.esp import HELD_BYTES, held_text
from ota.formats.judgement import Judgement, report_line
from ota.formats.mender_header import names_version
from ota.formats.swupdate import revisions
from ota.manifest.document import Manifest
from ota.manifest.reader import ARENA_BELOW_MEASURED

#: what the header of MCUboot can say: major, minor, revision and build, and how large each may be
_MCUBOOT = re.compile(r"[vV]?([0-9]{1,10})(?:\.([0-9]{1,10}))?(?:\.([0-9]{1,10}))?(?:\+([0-9]{1,10}))?", re.ASCII)
_LARGEST = (2**8 - 1, 2**8 - 1, 2**16 - 1, 2**32 - 1)


def check_agreement(manifest: Manifest, judgement: Judgement) -> Judgement:
    """Return the judgement with what the comparison added.

    Raises:
        RefusedBundleError: the artefact and the manifest contradict each other.
    """
    statements = _CHECKS[manifest.format](manifest, judgement)
    if manifest.fit.labels:
        return Judgement({**statements.facts, "labels": list(manifest.fit.labels)}, statements.statements)
    return statements


def _mcuboot(manifest: Manifest, judgement: Judgement) -> Judgement:
    facts = judgement.facts
    _demand_same("security counter", facts["security_counter"], manifest.security_counter)
    said = _numbers(manifest.version)
    if said is not None and said != _numbers(facts["version"]):
        _contradiction("version", facts["version"], manifest.version)
    for field, found, named in (
        ("class_id", facts["class_id"], {str(hardware.class_id) for hardware in manifest.hw}),
        ("vendor_id", facts["vendor_id"], {str(hardware.vendor_id) for hardware in manifest.hw}),
    ):
        if found is not None and {found} != named:
            msg = (
                f"The image is signed for the hardware {field} {found}, and bundle.json names "
                f"{', '.join(sorted(named))}. Correct `hw` or upload the image for that hardware."
            )
            raise RefusedBundleError(msg)
    if said is None:
        return _noted(
            judgement, f"the image's header says {facts['version']}, and its format cannot hold {manifest.version}"
        )
    return judgement


def _noted(judgement: Judgement, text: str) -> Judgement:
    """Return the judgement with what officers read of a version that the artefact's format cannot hold."""
    return Judgement(
        {**judgement.facts, "version_note": text}, [*judgement.statements, report_line("version", "muster", text)]
    )


def _swu(manifest: Manifest, judgement: Judgement) -> Judgement:
    facts = judgement.facts
    _demand_same("version", facts["version"], manifest.version)
    for hardware in manifest.hw:
        if hardware.rev:
            _demand_revision(hardware.name, hardware.rev, facts["selections"])
    return judgement


def _demand_revision(board: str, revision: str, selections: list[SelectionFacts]) -> None:
    """Refuse a revision for which the archive installs nothing: what is said for that board counts, if anything is."""
    own = {tuple(selection["hardware"]) for selection in selections if selection["board"] == board}
    own = own or {tuple(selection["hardware"]) for selection in selections}
    answers = [revisions.accepts_revision(one, revision) for one in own]
    if True in answers:
        return
    listed = ", ".join(sorted({entry for one in own for entry in one}))
    if None in answers:
        msg = (
            f"hardware-compatibility in the signed file is {listed}. Whether it accepts the revision {revision} of "
            "bundle.json cannot be determined: write the expression without classes like [[:digit:]], or remove `rev`."
        )
        raise RefusedBundleError(msg)
    _contradiction("hardware-compatibility", listed, revision)


def _tflite(manifest: Manifest, judgement: Judgement) -> Judgement:
    """Settle which arena figure counts: what the author declared and signed, else what was measured, else predicted."""
    facts, said = judgement.facts, manifest.fit
    _demand_flash(said.flash, facts["flash"])
    predicted, measured = facts["arena"]["predicted"], facts["arena"].get("measured", 0)
    found = measured or predicted
    arena: Arena = {**facts["arena"], "need": arena_margin(found), "source": "measured" if measured else "predicted"}
    statements = list(judgement.statements)
    if said.arena:
        arena |= {"need": said.arena, "source": "declared"}
        if said.arena < measured and ARENA_BELOW_MEASURED not in manifest.acknowledges:
            msg = (
                f"bundle.json declares {said.arena} bytes of arena, and the interpreter took {measured}. Declare more, "
                f"or put {ARENA_BELOW_MEASURED!r} into `acknowledges` if the devices' interpreter takes less."
            )
            raise RefusedBundleError(msg)
        if said.arena < found:
            outcome = f"declared {said.arena} bytes, {'measured' if measured else 'predicted'} {found}"
            statements.append(report_line("arena", "muster", f"{outcome}: less than it seems to need"))
    return Judgement({**facts, "arena": arena}, statements)


def _onnx(manifest: Manifest, judgement: Judgement) -> Judgement:
    """Take the memory that the author declared: nothing is predicted for this runtime."""
    facts, said = judgement.facts, manifest.fit
    _demand_flash(said.flash, facts["flash"])
    source = "declared" if said.arena else "not measured"
    return Judgement({**facts, "arena": {"need": said.arena, "source": source, "predicted": 0}}, judgement.statements)


def _composite(manifest: Manifest, judgement: Judgement) -> Judgement:
    _demand_same("version", judgement.facts["version"], manifest.version)
    return judgement


def _config(manifest: Manifest, judgement: Judgement) -> Judgement:
    _demand_same("version", judgement.facts["version"], manifest.version)
    return judgement


def _esp(manifest: Manifest, judgement: Judgement) -> Judgement:
    facts = judgement.facts
    _demand_same("security counter (secure_version)", facts["security_counter"], manifest.security_counter)
    room = manifest.version.encode()[:HELD_BYTES]
    cut = len(room) == HELD_BYTES and facts["version"] != manifest.version
    if not cut or facts["version"] not in {held_text(room), held_text(room[:-1])}:
        _demand_same("version", facts["version"], manifest.version)
        return judgement
    text = f"the image holds the first {len(facts['version'].encode())} bytes of it only: {facts['version']}"
    return _noted(judgement, text)


def _rauc(manifest: Manifest, judgement: Judgement) -> Judgement:
    facts = judgement.facts
    if facts["version"]:  # RAUC does not demand one; then bundle.json alone says it
        _demand_same("version", facts["version"], manifest.version)
    if {hardware.name for hardware in manifest.hw} != {facts["compatible"]}:
        _contradiction("compatible", facts["compatible"], ", ".join(sorted(hardware.name for hardware in manifest.hw)))
    return judgement


def _oms(manifest: Manifest, judgement: Judgement) -> Judgement:
    """Do as with the format inside."""
    return (_tflite if judgement.facts["inner"] == "tflite" else _onnx)(manifest, judgement)


def _mender(manifest: Manifest, judgement: Judgement) -> Judgement:
    facts = judgement.facts
    if not names_version(facts, manifest.id, manifest.version):
        wanted = f"version {manifest.version}; name the artifact {manifest.id}-{manifest.version}"
        _contradiction("artifact name", facts["artifact"], wanted)
    if strange := sorted({hardware.name for hardware in manifest.hw} - set(facts["hardware"])):
        _contradiction("device type", ", ".join(facts["hardware"]), strange[0])
    return judgement


def _nothing_inside(manifest: Manifest, judgement: Judgement) -> Judgement:
    """Nothing in the file says what it is: only the officers' signatures over ``bundle.json`` do."""
    return _onnx(manifest, judgement) if manifest.kind == "model" else judgement


_CHECKS: Mapping[str, Callable[[Manifest, Judgement], Judgement]] = {
    "composite": _composite,
    "config": _config,
    "esp": _esp,
    "generic": _nothing_inside,
    "mcuboot": _mcuboot,
    "onnx": _onnx,
    "mender": _mender,
    "oms": _oms,
    "rauc": _rauc,
    "swu": _swu,
    "tflite": _tflite,
}


def _demand_same(what: str, found: object, said: object) -> None:
    if found != said:
        _contradiction(what, found, said)


def _demand_flash(said: int | None, needed: int) -> None:
    if said and said < needed:
        _contradiction("flash need", needed, said)


def _contradiction(what: str, found: object, said: object) -> None:
    msg = f"The {what} in the signed file is {found}, and bundle.json says {said}. Correct one of them."
    raise RefusedBundleError(msg)


def _numbers(version: str) -> tuple[int, ...] | None:
    """Return major, minor, revision and build; None for a text that the header of MCUboot cannot hold."""
    match = _MCUBOOT.fullmatch(version)
    numbers = tuple(int(group or 0) for group in match.groups()) if match else ()
    return numbers if numbers and all(map(int.__le__, numbers, _LARGEST)) else None
