"""Run a model that comes in, and its golden vectors, before anybody relies on either."""

from collections.abc import Mapping

from ota import measuring
from ota.blobs import Staged
from ota.errors import RefusedBundleError
from ota.formats.judgement import Judgement, statement
from ota.manifest import Manifest
from ota.manifest.reader import WIDE_TOLERANCE
from ota.measuring import Trial
from pki.kernel import golden
from pki.kernel.golden import Case

FORMAT = "tflite"
#: outputs whose tolerance counts in steps
_QUANTISED = {"INT8", "UINT8", "INT16", "INT32"}


def with_trial(wanted: Manifest, staged: Mapping[str, Staged], judgement: Judgement) -> Judgement:
    """Return the judgement with what came of running the model, and of each of its golden vectors.

    Raises:
        RefusedBundleError: its own vectors fail, say nothing, or cannot be run here.
    """
    if judgement.facts.get("inner", wanted.format) != FORMAT:
        if wanted.of_role("golden"):
            msg = "Golden vectors can be run for TensorFlow Lite models only."
            raise RefusedBundleError(msg)
        return judgement
    entry, tool = wanted.of_role("golden"), measuring.tool()
    vectors = staged[entry.path].path if entry else None
    cases = golden.read(vectors.read_bytes() if entry and entry.size <= golden.MAX_GOLDEN else b"") if vectors else ()
    _demand_sense(wanted, cases, judgement)
    if not tool:
        if cases:
            msg = "Golden vectors cannot be run on this machine: there is no `tflite-micro` for it."
            raise RefusedBundleError(msg)
        return judgement
    found = measuring.measure(staged[wanted.image.path].path, vectors)
    _demand_right(found, cases)
    return _told(judgement, found, cases, tool)


def _demand_sense(wanted: Manifest, cases: tuple[Case, ...], judgement: Judgement) -> None:
    """Refuse vectors that would tell nothing: always the same, or so tolerant that a broken model passes."""
    if not cases:
        return
    if golden.constant(cases):
        msg = "All golden vectors want the same outputs; a broken model could pass them. Add cases that differ."
        raise RefusedBundleError(msg)
    quantised = any(one["dtype"] in _QUANTISED for one in judgement.facts["outputs"])
    widest = max(one.tolerance for one in cases)
    if quantised and widest > golden.WIDE_TOLERANCE and WIDE_TOLERANCE not in wanted.acknowledges:
        msg = (
            f"A golden vector tolerates {widest:g} steps; more than {golden.WIDE_TOLERANCE} are accepted only if "
            f"bundle.json says {WIDE_TOLERANCE!r} in `acknowledges`."
        )
        raise RefusedBundleError(msg)


def _demand_right(found: Trial, cases: tuple[Case, ...]) -> None:
    if cases and not found.runs:
        msg = f"The golden vectors cannot be run: {found.message}."
        raise RefusedBundleError(msg)
    if found.failed:
        tolerated = cases[found.failed - 1].tolerance
        msg = (
            f"Golden vector {found.failed} fails: the model's output is off by {found.difference:g}, and {tolerated:g} "
            "is tolerated. Make the vectors with this very model (`manage.py bundle golden`)."
        )
        raise RefusedBundleError(msg)


def _told(judgement: Judgement, found: Trial, cases: tuple[Case, ...], tool: str) -> Judgement:
    facts = {**judgement.facts, "trial": {"runs": found.runs, "message": found.message, "tool": tool}}
    statements = list(judgement.statements)
    if found.runs:
        facts["arena"] = {**facts["arena"], "measured": found.total}
        statements.append(statement("arena", tool, f"{found.total} bytes taken, {found.head} of them for activations"))
    else:
        statements.append(statement("trial", tool, f"does not run: {found.message}"))
    if cases:
        facts["golden"] = {"cases": len(cases), "tolerance": f"{max(one.tolerance for one in cases):g}"}
        statements.append(statement("golden vectors", tool, f"all {len(cases)} come out right"))
    return Judgement(facts, statements)
