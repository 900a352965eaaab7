"""Patches compared with xdelta3 -9, the tool of the best-known update servers, on the corpus, in one run."""

import lzma
import math
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from fleet.management.benches.corpus import image_pairs
from fleet.management.benches.rows import BenchRow, bench_row, load_average
from ota.deltas import streams
from ota.deltas.candidates import CANDIDATES

RATIO, OVER_XZ = 0.45, 1.01


def run() -> list[BenchRow]:
    """Measure every pair; takes about five minutes."""
    if shutil.which("xdelta3") is None:
        sys.stderr.write("xdelta3 is not installed: patches cannot be compared (`tests/peers/install-bench.sh`)\n")
        return []
    ratios, over, worst = [], [], 0.0
    for name, pair in image_pairs(lambda said: sys.stderr.write(f"{said}\n")):
        chosen, seconds = _chosen(*pair)
        theirs, full = _xdelta(*pair), len(lzma.compress(pair[1], preset=9 | lzma.PRESET_EXTREME))
        ratios.append(chosen / theirs)
        over.append(chosen / full)
        worst = max(worst, seconds)
        sys.stderr.write(f"  {name}: {chosen} bytes, xdelta3 {theirs}, xz {full}, {seconds:.1f} s\n")
    mean = math.exp(sum(math.log(ratio) for ratio in ratios) / len(ratios))
    against = f"xdelta3 -9, the better of djw and lzma, {len(ratios)} pairs of public packages; {load_average()}"
    return [
        bench_row("chosen patch, geometric mean of the share of xdelta3 -9", mean, "ratio", RATIO, against),
        bench_row("chosen patch, largest share of the whole image as xz -9e", max(over), "ratio", OVER_XZ, against),
        bench_row("all candidates of one pair, longest", worst, "s", 60, f"nothing; one core; {load_average()}"),
    ]


def _chosen(old: bytes, new: bytes) -> tuple[int, float]:
    """Return the patch size for a device that supports all formats, and the time to build all candidates."""
    began = time.perf_counter()
    sizes = [len(streams.make_patch(b"", new))]
    for name, candidate in CANDIDATES.items():
        if max(len(old), len(new)) > candidate.most:
            continue
        made = candidate.make(old, new)
        if candidate.apply(old, made, len(new)) != new:
            raise AssertionError(name)
        sizes.append(len(made))
    return min(sizes), time.perf_counter() - began


def _xdelta(*pair: bytes) -> int:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, data in zip(("old", "new"), pair, strict=True):
            (folder / file).write_bytes(data)
        sizes = []
        for secondary in ("djw", "lzma"):
            command = ["xdelta3", "-9", "-S", secondary, "-B", "67108864", "-e", "-f", "-s", "old", "new", "out"]
            subprocess.run(command, cwd=folder, check=True, capture_output=True)
            sizes.append((folder / "out").stat().st_size)
        return min(sizes)
