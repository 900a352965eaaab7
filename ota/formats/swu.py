"""SWUpdate archives: a cpio archive whose signed description must list every member with its hash.

No member is ever unpacked by its name. The description itself is read by ``ota.formats.swupdate``.

Sources: SWUpdate's documentation ("SWUpdate image format", "Update images from verified source"): ``sw-description`` is
the first member, its detached CMS signature the second.
"""

import hashlib
from typing import BinaryIO, cast

from ota.errors import RefusedBundleError
from ota.facts import SelectionFacts
from ota.formats import bombs, cms, magic, tarballs
from ota.formats.judgement import ArtefactToVerify, Judgement, read_whole_file, report_line
from ota.formats.swupdate.cpio import ArchiveMember, ArchiveWindow, unpack_cpio
from ota.formats.swupdate.description import SectionEntry, Selection, listed_members, read_description

MAX_ARCHIVE = 1 << 29
_SHOWN = 8
#: handlers that unpack with libarchive
_ARCHIVES = {"archive", "tar"}


def judge(case: ArtefactToVerify) -> Judgement:
    """Return what the description says, if it verifies under one of the anchors.

    Raises:
        RefusedBundleError: it is broken, unsigned, signed by a stranger, or holds what is not listed.
    """
    data = read_whole_file(case.image, MAX_ARCHIVE, "archive")
    magic.demand_magic(data[: magic.ENOUGH], "swu")
    members = unpack_cpio(data)
    if [member.name for member in members[:2]] != ["sw-description", "sw-description.sig"]:
        msg = "The archive does not begin with sw-description and sw-description.sig; sign it with CMS."
        raise RefusedBundleError(msg)
    description, signature, *payloads = members
    content = case.scratch / "content"
    content.write_bytes(description.data)
    signer = cms.verify_cms(case, content, bytes(signature.data), "The description")
    selections = read_description(bytes(description.data))
    entries = list(listed_members(selections))
    _compare(entries, payloads)
    sizes = _measure(entries, {payload.name: payload for payload in payloads}, bombs.UnpackingBudget(len(data)))
    return Judgement(
        facts={
            "version": selections[0].version,
            "hardware": sorted({revision for selection in selections for revision in selection.hardware}),
            "selections": [_fact(selection) for selection in selections],
            "scripts": sorted({entry.filename for entry in entries if entry.section in {"scripts", "bootenv"}}),
            "sizes": sizes,
            "flash": sum(sizes.values()),
            "signer": signer["name"],
            "signer_certificate": signer["certificate"],
            "signer_serial": signer["serial"],
        },
        statements=[
            report_line("signature", "openssl cms", f"signed under {signer['name']}"),
            report_line("contents", "muster", f"{len(payloads)} members, each listed and hashed"),
            *(report_line("selection", "muster", text) for text in _sentences(selections)),
        ],
    )


def _fact(chosen: Selection) -> SelectionFacts:
    """Return what is kept of one selection."""
    choice = chosen.choice
    return {
        "board": choice.board,
        "set": choice.software_set,
        "mode": choice.mode,
        "hardware": list(chosen.hardware),
        "members": [[entry.section, entry.filename, entry.type] for entry in chosen.entries],
        "variables": list(chosen.variables),
    }


def _sentences(selections: list[Selection]) -> list[str]:
    """Return the selections as people read them; the rest of many are counted."""
    texts = [_sentence(selection) for selection in selections[:_SHOWN]]
    return texts if len(selections) <= _SHOWN else [*texts, f"and {len(selections) - _SHOWN} other selections"]


def _sentence(chosen: Selection) -> str:
    """Return a selection as people read it."""
    parts = [f"{entry.filename} ({entry.section}, {entry.type or 'no handler'})" for entry in chosen.entries]
    parts += [f"sets {variable}" for variable in chosen.variables]
    text = f"{chosen.choice}, revisions {', '.join(chosen.hardware)}: {'; '.join(parts)}"
    return text if len(text) <= 400 else f"{text[:399]}…"  # noqa: PLR2004  because a report has short lines


def _compare(entries: list[SectionEntry], payloads: list[ArchiveMember]) -> None:
    """Refuse members that no entry lists, entries without a member, and members that are not what entries list."""
    listed: dict[str, SectionEntry] = {}
    for entry in entries:
        if listed.setdefault(entry.filename, entry).sha256 != entry.sha256:
            msg = f"sw-description lists {entry.filename!r} with two different sha256. Correct one of them."
            raise RefusedBundleError(msg)
    for payload in payloads:
        if payload.name not in listed:
            msg = f"The member {payload.name!r} is not listed in the signed description. Remove it or list it."
            raise RefusedBundleError(msg)
        if hashlib.sha256(payload.data).hexdigest() != listed[payload.name].sha256:
            msg = f"The member {payload.name!r} does not have the sha256 that the signed description gives."
            raise RefusedBundleError(msg)
    if missing := sorted(set(listed) - {payload.name for payload in payloads}):
        msg = f"The description lists {missing[0]!r}, but the archive does not contain it. Add it, or remove the entry."
        raise RefusedBundleError(msg)


def _measure(
    entries: list[SectionEntry], members: dict[str, ArchiveMember], budget: bombs.UnpackingBudget
) -> dict[str, int]:
    """Return what each member unpacks to on a device, in bytes; the largest when it is used in several ways.

    Raises:
        RefusedBundleError: together they unpack to too much, or one cannot be measured.
    """
    sizes: dict[str, int] = {}
    ways = {(one.filename, one.compression, one.type, one.encrypted, one.unpacked): one for one in entries}
    for entry in ways.values():
        size = _unpacked_size(entry, members[entry.filename].data, budget)
        if entry.unpacked and entry.compression and size != entry.unpacked:
            said = f"its decompressed-size says {entry.unpacked}"
            msg = f"{entry.filename!r} unpacks to {size} bytes, and {said}. Correct it."
            raise RefusedBundleError(msg)
        sizes[entry.filename] = max(size, sizes.get(entry.filename, 0))
    return sizes


def _unpacked_size(entry: SectionEntry, data: memoryview, budget: bombs.UnpackingBudget) -> int:
    what = f"The member {entry.filename!r}"
    file = cast("BinaryIO", ArchiveWindow(data))
    if entry.encrypted:
        return _declared_size(entry, len(data), budget, what)
    if entry.compression:
        stream = bombs.Unpacked(file, entry.compression, budget, what)
        return tarballs.measure_archive(stream, budget, what) if entry.type in _ARCHIVES else stream.drain()
    if entry.type in _ARCHIVES:
        return tarballs.measure_archive(file, budget, what)
    size = bombs.measured_size(file, budget, what)
    return len(data) if size is None else max(size, len(data))


def _declared_size(entry: SectionEntry, packed: int, budget: bombs.UnpackingBudget, what: str) -> int:
    """Return the unpacked size of a member that only devices can decrypt, as the vendor has signed it."""
    if not entry.compression and entry.type not in _ARCHIVES:
        return packed
    if not entry.unpacked:
        msg = (
            f"{what} is encrypted and compressed, so its unpacked size cannot be measured. Declare it: "
            'properties = { decompressed-size = "BYTES"; }.'
        )
        raise RefusedBundleError(msg)
    budget.spend(entry.unpacked, what)
    return entry.unpacked
