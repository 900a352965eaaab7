"""Run an uploaded model and its golden vectors before they are accepted."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ota import measuring
from ota.blobs import Staged
from ota.contract import golden
from ota.contract.golden import GoldenVector
from ota.errors import RefusedBundleError
from ota.formats.judgement import Judgement, report_line
from ota.manifest import Manifest
from ota.manifest.reader import WIDE_TOLERANCE
from ota.measuring import Trial

if TYPE_CHECKING:
    from ota.facts import BundleFacts

FORMAT = "tflite"


def with_trial(manifest: Manifest, staged: Mapping[str, Staged], judgement: Judgement) -> Judgement:
    """Return the judgement with the results of the model run and of each golden vector.

    Raises:
        RefusedBundleError: its own vectors fail, detect nothing, or cannot run here.
    """
    if judgement.facts.get("inner", manifest.format) != FORMAT:
        if manifest.of_role("golden"):
            msg = "Golden vectors can be run for TensorFlow Lite models only."
            raise RefusedBundleError(msg)
        return judgement
    entry, tool = manifest.of_role("golden"), measuring.interpreter_version()
    vectors = staged[entry.path].path if entry else None
    cases = golden.read_vectors(_bounded(vectors)) if vectors else ()
    _demand_sense(manifest, cases, judgement)
    if not tool:
        if cases:
            msg = "Golden vectors cannot be run on this machine: there is no `tflite-micro` for it."
            raise RefusedBundleError(msg)
        return judgement
    trial = measuring.measure_model(staged[manifest.image.path].path, vectors, len(cases))
    _demand_right(trial, cases)
    return _with_trial(judgement, trial, cases, tool)


def _bounded(vectors: Path) -> bytes:
    if (size := vectors.stat().st_size) > golden.MAX_GOLDEN:
        msg = f"The golden vectors have {size} bytes; at most {golden.MAX_GOLDEN} are run on devices. Use fewer cases."
        raise RefusedBundleError(msg)
    return vectors.read_bytes()


def _demand_sense(manifest: Manifest, cases: tuple[GoldenVector, ...], judgement: Judgement) -> None:
    """Refuse vectors that detect nothing: all equal, or so tolerant that a broken model passes."""
    if not cases:
        return
    outputs = judgement.facts["outputs"]
    if golden.are_constant(cases):
        msg = "All golden vectors expect the same outputs, so a broken model could pass them. Add cases that differ."
        raise RefusedBundleError(msg)
    if WIDE_TOLERANCE not in manifest.acknowledges and golden.is_wide(cases, [output["dtype"] for output in outputs]):
        msg = (
            f"A golden vector tolerates more than {golden.WIDE_TOLERANCE} steps, or a tenth of what a floating-point "
            f"output reaches: it would rarely detect a broken model. If this is intended, put {WIDE_TOLERANCE!r} "
            "into `acknowledges` of bundle.json."
        )
        raise RefusedBundleError(msg)


def _demand_right(trial: Trial, cases: tuple[GoldenVector, ...]) -> None:
    if cases and not trial.runs:
        msg = f"The golden vectors cannot be run: {trial.message}."
        raise RefusedBundleError(msg)
    if trial.failed:
        tolerated = cases[trial.failed - 1].tolerance
        msg = (
            f"Golden vector {trial.failed} fails: the model's output differs by {trial.difference:g}, and the "
            f"tolerance is {tolerated:g}. Generate the vectors with this model (`manage.py bundle golden`)."
        )
        raise RefusedBundleError(msg)


def _with_trial(judgement: Judgement, trial: Trial, cases: tuple[GoldenVector, ...], tool: str) -> Judgement:
    facts: BundleFacts = {
        **judgement.facts,
        "trial": {"runs": trial.runs, "message": trial.message, "tool": tool},
    }
    statements = list(judgement.statements)
    if trial.runs:
        facts["arena"] = {**facts["arena"], "measured": trial.total}
        statements.append(
            report_line("arena", tool, f"{trial.total} bytes taken, {trial.head} of them for activations")
        )
    else:
        statements.append(report_line("trial", tool, f"does not run: {trial.message}"))
    if cases:
        facts["golden"] = {"cases": len(cases), "tolerance": f"{max(case.tolerance for case in cases):g}"}
        statements.append(report_line("golden vectors", tool, f"all {len(cases)} match"))
    return Judgement(facts, statements)
