"""Patches compared with xdelta3 -9, the tool of the best-known update servers, on the corpus, in one run."""

import lzma
import math
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from fleet.management.benches import corpus
from fleet.management.benches.rows import BenchRow, bench_row, load_average
from ota.contract import patch
from ota.deltas import streams
from ota.deltas.candidates import CANDIDATES

RATIO, OVER_XZ = 0.45, 1.01
#: what common agents apply without our own format
COMMON = ("bsdiff", "zstd")
#: the packed image, which needs no base
WHOLE = "whole"
SHARE = "geometric mean of the share of xdelta3 -9"


def run() -> list[BenchRow]:
    """Measure every pair; takes about seven minutes."""
    if shutil.which("xdelta3") is None:
        sys.stderr.write("xdelta3 is not installed: patches cannot be compared (`tests/peers/install-bench.sh`)\n")
        return []
    return [*_of_the_corpus(), *_held_back()]


def _of_the_corpus() -> list[BenchRow]:
    """Compare the patch that a device with all formats gets with xdelta3 and with the whole image."""
    ratios, over, worst = [], [], 0.0
    for name, pair in corpus.image_pairs(lambda said: sys.stderr.write(f"{said}\n")):
        sizes, seconds = _sizes(*pair)
        chosen = min(sizes.values())
        theirs, full = _xdelta(*pair), len(lzma.compress(pair[1], preset=9 | lzma.PRESET_EXTREME))
        ratios.append(chosen / theirs)
        over.append(chosen / full)
        worst = max(worst, seconds)
        sys.stderr.write(f"  {name}: {chosen} bytes, xdelta3 {theirs}, xz {full}, {seconds:.1f} s\n")
    against = f"xdelta3 -9, the better of djw and lzma, {len(ratios)} pairs of public packages; {load_average()}"
    return [
        bench_row(f"chosen patch, {SHARE}", _geometric(ratios), "ratio", RATIO, against),
        bench_row("chosen patch, largest share of the whole image as xz -9e", max(over), "ratio", OVER_XZ, against),
        bench_row("all candidates of one pair, longest", worst, "s", 60, f"nothing; one core; {load_average()}"),
    ]


def _held_back() -> list[BenchRow]:
    """Compare what devices get with and without our own format, on pairs on which it was not tuned."""
    ratios: list[dict[str, float]] = []
    for name, pair in corpus.held_back_pairs(lambda said: sys.stderr.write(f"{said}\n")):
        sizes, _ = _sizes(*pair)
        theirs, common = _xdelta(*pair), min(sizes[one] for one in COMMON if one in sizes)
        of_three = min(common, sizes[patch.FORMAT])
        named = {"common": common, "own": sizes[patch.FORMAT], "three": of_three, "best": min(sizes.values())}
        ratios.append({key: size / theirs for key, size in named.items()} | {"gain": of_three / common})
        sys.stderr.write(f"  {name}: {named}, xdelta3 {theirs}\n")
    means = {key: _geometric(one[key] for one in ratios) for key in ratios[0]}
    against = f"xdelta3 -9, {len(ratios)} pairs on which no format was tuned; reported only; {load_average()}"
    gain = f"the same without {patch.FORMAT}, geometric mean of {len(ratios)} pairs on which no format was tuned"
    return [
        bench_row(f"held-back pairs, bsdiff or zstd, {SHARE}", means["common"], "ratio", 1, against),
        bench_row(f"held-back pairs, {patch.FORMAT} alone, {SHARE}", means["own"], "ratio", 1, against),
        bench_row(f"held-back pairs, bsdiff, zstd or {patch.FORMAT}, {SHARE}", means["three"], "ratio", 1, against),
        bench_row(f"held-back pairs, smallest of all formats, {SHARE}", means["best"], "ratio", RATIO, against),
        bench_row(f"held-back pairs, a device with bsdiff, zstd and {patch.FORMAT}", means["gain"], "ratio", 1, gain),
    ]


def _geometric(values: Iterable[float]) -> float:
    known = [math.log(value) for value in values]
    return math.exp(sum(known) / len(known))


def _sizes(old: bytes, new: bytes) -> tuple[Mapping[str, int], float]:
    """Return the size of each form that a device may get, and the time to build and try all candidates."""
    began = time.perf_counter()
    sizes = {WHOLE: len(streams.make_patch(b"", new))}
    for name, candidate in CANDIDATES.items():
        if max(len(old), len(new)) > candidate.most:
            continue
        patch = candidate.make(old, new)
        if candidate.apply(old, patch, len(new)) != new:
            raise AssertionError(name)
        sizes[name] = len(patch)
    return sizes, time.perf_counter() - began


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
