"""Which patch a device gets: the smallest that it says it can apply, and none where it would not pay. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from devices.twin_documents import Applier
from ota.contract import patch

#: formats that this server makes; a device may know more, which are of no use here
CANDIDATE_NAMES = (patch.FORMAT, "bsdiff", "hdiffpatch", "zstd", "detools-heatshrink", "hpatchlite-tuz")
#: formats that microcontrollers apply as a stream, with a window of a kilobyte at most
_SMALL = ("detools-heatshrink", "hpatchlite-tuz")
LEAST_SHARE, LEAST_BYTES = 10, 4096
MOST_APPLIERS = 8


@dataclass(frozen=True, slots=True)
class TriedPatch:
    """A patch that was made and tried.

    Args:
        format: by name; never found out by looking.
        base: SHA-256 of the image that it needs, empty for the packed image.
        sha256: of the patch itself.
        size: in bytes.
        ram: bytes that applying it needs beside base and result.
    """

    format: str
    base: str
    sha256: str
    size: int
    ram: int


def choose_patch(offers: Iterable[TriedPatch], appliers: Iterable[Applier], runs: str, full: int) -> TriedPatch | None:
    """Return the best offer for a device, or None: it gets the image as it is.

    A patch has to be smaller by a tenth and by 4 KiB than the best whole form that the device can take.

    Args:
        offers: for this result.
        appliers: what the device has declared: ``format``, and ``ram_max``, ``out_max`` in bytes.
        runs: SHA-256 of what runs there now, as the device has signed it; empty when it has not said.
        full: length of the image.
    """
    able = {applier["format"]: applier for applier in appliers}
    fit = [offer for offer in offers if offer.base in {"", runs} and _can(able.get(offer.format), offer, full)]
    whole = min(
        (candidate for candidate in fit if not candidate.base), key=lambda candidate: candidate.size, default=None
    )
    best_whole = min(whole.size if whole else full, full)
    patches = [candidate for candidate in fit if candidate.base and _pays(candidate.size, best_whole)]
    if patches:
        return min(patches, key=lambda candidate: candidate.size)
    return whole if whole and _pays(whole.size, full) else None


def ram_of(format_: str, base: int, size: int) -> int:
    """Return how many bytes applying a patch needs beside base and result, by the reference applier."""
    if format_ in _SMALL:
        return 1 << 11  # the window, and what comes in
    return size + min(patch.DICTIONARY, 2 * base + (1 << 20))


def _can(applier: Applier | None, offer: TriedPatch, full: int) -> bool:
    return applier is not None and offer.ram <= applier["ram_max"] and full <= applier["out_max"]


def _pays(size: int, whole: int) -> bool:
    return whole - size >= max(LEAST_BYTES, whole * LEAST_SHARE // 100)
