"""Every way that is tried to turn one image into another, each with its own reference applier."""

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import bsdiff4
import detools
import hdiffpatch
import zstandard

from ota.contract import patch
from ota.deltas import appliers, streams

#: zstd needs the base in its window; above this it is slow and large
MOST_FOR_ZSTD = 3 << 20
#: a microcontroller keeps so much of what it has unpacked
TUZ_WINDOW = 1 << 10


@dataclass(frozen=True, slots=True)
class PatchFormat:
    """One format.

    Args:
        make: (old, new) to patch.
        apply: (old, patch, length of the result) to the result.
        most: larger images are not tried with it.
    """

    make: Callable[[bytes, bytes], bytes]
    apply: Callable[[bytes, bytes, int], bytes]
    most: int = 1 << 26


def _zstd(old: bytes, new: bytes) -> bytes:
    known = zstandard.ZstdCompressionDict(old, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    parameters = zstandard.ZstdCompressionParameters.from_level(19, window_log=appliers.WINDOW, enable_ldm=True)
    return zstandard.ZstdCompressor(dict_data=known, compression_params=parameters).compress(new)


def _detools(old: bytes, new: bytes) -> bytes:
    out = io.BytesIO()
    sizes = {"heatshrink_window_sz2": 8, "heatshrink_lookahead_sz2": 7}
    detools.create_patch(io.BytesIO(old), io.BytesIO(new), out, compression="heatshrink", **sizes)
    return out.getvalue()


def _hdiff(old: bytes, new: bytes) -> bytes:
    patches = [hdiffpatch.diff(old, new, kind()) for kind in (hdiffpatch.Lzma2Config, hdiffpatch.BZip2Config)]
    return bytes(min(patches, key=len))


def _lite(old: bytes, new: bytes) -> bytes:
    return bytes(hdiffpatch.diff_lite(old, new, compression=hdiffpatch.TuzConfig(dict_size=TUZ_WINDOW)))


CANDIDATES: Mapping[str, PatchFormat] = {
    patch.FORMAT: PatchFormat(streams.make_patch, patch.apply_patch),
    "bsdiff": PatchFormat(bsdiff4.diff, appliers.apply_bsdiff),
    "hdiffpatch": PatchFormat(_hdiff, appliers.apply_hdiff),
    "zstd": PatchFormat(_zstd, appliers.apply_zstd, MOST_FOR_ZSTD),
    "detools-heatshrink": PatchFormat(_detools, appliers.in_detools, 1 << 20),
    "hpatchlite-tuz": PatchFormat(_lite, appliers.apply_hpatchlite, 1 << 22),
}
