"""What a signed ``sw-description`` installs, for every device that it applies to. Pure.

The rules are those of SWUpdate 2022.12, tested beside ``swupdate -c`` in ``tests/peers/test_sw_description.py``. What
other versions read differently, or silently ignore, is refused; ``docs/reference/sw-description.md`` lists all of it.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from ota.formats import bombs
from ota.formats.swupdate import selection
from ota.formats.swupdate.json_form import read_json_description
from ota.formats.swupdate.libconfig import read_libconfig
from ota.formats.swupdate.selection import Choice, Path, Section
from ota.formats.swupdate.tree import Setting, refuse_description

MAX_DESCRIPTION = 256 * 1024
MOST_ENTRIES = 256
#: SWUpdate cuts longer texts off without a word
MOST_TEXT = 255
MOST_VERSION = 64
MOST_REVISIONS = 128
_OFFSET = re.compile(r"(0x)?[0-9A-Fa-f]+[KMG]?")
_DIGEST = re.compile(r"[0-9a-fA-F]{64}")
_TEXTS = (
    "name", "version", "filename", "path", "volume", "device", "mtdname", "filesystem", "type", "data", "sha256", "ivt",
)  # fmt: skip
_TRUTHS = (
    "installed-directly", "preserve-attributes", "install-if-different", "install-if-higher", "encrypted",
)  # fmt: skip
_COMPRESSIONS = {"zlib": bombs.ONE_GZIP, "zstd": "zstd", True: bombs.ONE_GZIP, False: ""}
_INTS = {"int", "int64"}


@dataclass(frozen=True, slots=True)
class SectionEntry:
    """One member of the archive as one section uses it.

    Args:
        section: ``images``, ``files``, ``scripts``, ``bootenv`` or ``partitions``.
        filename: of the member.
        sha256: in lower case.
        type: of the handler that installs it.
        compression: that SWUpdate itself unpacks, as ``bombs`` names it, or nothing.
        encrypted: whether the device decrypts it first.
        unpacked: the property ``decompressed-size``, or 0.
        line: where it is.
    """

    section: str
    filename: str
    sha256: str
    type: str
    compression: str
    encrypted: bool
    unpacked: int
    line: int


@dataclass(frozen=True, slots=True)
class Selection:
    """What one choice of board, software set and mode installs."""

    choice: Choice
    version: str
    hardware: tuple[str, ...]
    entries: tuple[SectionEntry, ...]
    variables: tuple[str, ...]


@dataclass(slots=True)
class _SectionContents:
    """What the sections of one choice hold."""

    entries: list[SectionEntry] = field(default_factory=list)
    variables: list[str] = field(default_factory=list)
    links: int = 0


def read_description(data: bytes) -> list[Selection]:
    """Return what each choice of devices installs; choices that install the same as a plainer one are left out.

    Args:
        data: ``sw-description``, in libconfig or JSON.

    Raises:
        RefusedBundleError: one sentence says what is wrong and where.
    """
    if len(data) > MAX_DESCRIPTION:
        refuse_description(f"it has {len(data)} bytes; at most {MAX_DESCRIPTION} are accepted.")
    document = read_json_description(data) if data.lstrip(b" \t\r\n\f")[:1] == b"{" else read_libconfig(data)
    if document.members.get(selection.ROOT, Setting("null", None, 0)).kind != "group":
        refuse_description("the group `software`, which contains everything else, is missing.")
    selections: dict[object, Selection] = {}
    seen: set[object] = set()
    for choice in selection.possible_choices(document):
        places = _places(document, choice)
        chosen = None if places in seen else _selected(document, choice)
        seen.add(places)
        if chosen is not None:
            selections.setdefault((chosen.version, chosen.hardware, chosen.entries, chosen.variables), chosen)
    if not selections:
        refuse_description("no device finds a version, hardware-compatibility and something to install in it.")
    versions = {value.version: value for value in selections.values()}
    if len(versions) > 1:
        said = ", ".join(f"{version!r} for {one.choice}" for version, one in list(versions.items())[:3])
        refuse_description(f"devices find different versions in it: {said}. Give one archive one version.")
    return list(selections.values())


def _places(document: Setting, choice: Choice) -> tuple[Path | None, ...]:
    """Return where a device of that choice finds each section: who finds all in the same places installs the same."""
    sections = (selection.find_section(document, choice, name) for name in _FOUND)
    return tuple(section.path if section is not None else None for section in sections)


def _selected(document: Setting, choice: Choice) -> Selection | None:
    """Return what one choice installs; None when SWUpdate refuses it on such a device."""
    _demand_common(document, choice)
    gathered = _SectionContents()
    for name, reader in _SECTIONS.items():
        section = selection.find_section(document, choice, name)
        if section is not None:
            _gather(document, name, section, reader, gathered, [])
    if all(selection.find_section(document, choice, name) for name in ("bootenv", "uboot")):
        refuse_description(
            "it has both `bootenv` and `uboot`, and versions of SWUpdate take one or the other. Remove `uboot`."
        )
    _demand_one_use(gathered.entries)
    hardware = _hardware(selection.find_section(document, choice, "hardware-compatibility"))
    version = selection.find_section(document, choice, "version")
    if version is None or not hardware or not (gathered.entries or gathered.variables):
        return None
    return Selection(choice, _version(version.setting), hardware, tuple(gathered.entries), tuple(gathered.variables))


def _demand_one_use(entries: list[SectionEntry]) -> None:
    """Refuse a member that is a script and something else too: SWUpdate passes it to one of them only."""
    uses: dict[str, bool] = {}
    for entry in entries:
        script = entry.section == "scripts"
        if uses.setdefault(entry.filename, script) != script:
            refuse_description(
                f"{entry.filename[:60]!r} is in `scripts` and elsewhere. Give it two names.",
                entry.line,
            )


def _demand_common(document: Setting, choice: Choice) -> None:
    """Refuse code that changes what was read, and settings of the wrong type, which SWUpdate ignores."""
    script = selection.find_section(document, choice, "embedded-script")
    if script is not None:
        refuse_description(
            "`embedded-script` is code that changes entries while a device reads them. Use `scripts`.",
            script.setting.line,
        )
    for name, kind in _COMMON.items():
        section = selection.find_section(document, choice, name)
        if section is not None and section.setting.kind != kind:
            refuse_description(
                f"`{name}` is not a {kind}, so SWUpdate ignores it. Write it as a {kind}.", section.setting.line
            )


_COMMON = {
    "description": "string", "output": "string", "namespace-for-vars": "string",
    "reboot": "bool", "bootloader_state_marker": "bool", "bootloader_transaction_marker": "bool",
}  # fmt: skip


def _version(setting: Setting) -> str:
    text = _text(setting, "version")
    if not text or len(text) > MOST_VERSION or not text.isprintable() or text != text.strip():
        refuse_description(
            f"`version` is not 1 to {MOST_VERSION} printable characters without spaces around.", setting.line
        )
    return text


def _hardware(section: Section | None) -> tuple[str, ...]:
    """Return the revisions that are accepted."""
    if section is None:
        return ()
    setting = section.setting
    if setting.kind not in {"array", "list"}:
        refuse_description(
            '`hardware-compatibility` is not a list of strings, like [ "1.0", "#RE:^2\\\\." ].', setting.line
        )
    if len(setting.elements) > MOST_REVISIONS:
        refuse_description(
            f"`hardware-compatibility` has more than {MOST_REVISIONS} entries. Use an expression.", setting.line
        )
    return tuple(text for element in setting.elements if (text := _text(element, "hardware-compatibility")))


_Reader = Callable[[Setting, str, _SectionContents], None]


def _gather(
    document: Setting, name: str, section: Section, reader: _Reader, gathered: _SectionContents, seen: list[Path]
) -> None:  # fmt: skip
    """Add what a section holds, links followed."""
    if section.path in seen:
        refuse_description("links (`ref`) lead in a circle.", section.setting.line)
    if section.setting.kind != "list":
        refuse_description(f"`{name}` is not a list. Write it as ( {{ … }}, {{ … }} ).", section.setting.line)
    for element in section.setting.elements:
        if element.kind != "group":
            refuse_description(f"`{name}` contains something other than groups {{ … }}.", element.line)
        if "ref" in element.members:
            gathered.links += 1
            linked = selection.follow_link(document, element, section.path)
            _gather(document, name, linked, reader, gathered, [*seen, section.path])
        else:
            reader(element, name, gathered)
        if len(gathered.entries) + len(gathered.variables) + gathered.links > MOST_ENTRIES:
            refuse_description(f"a device finds more than {MOST_ENTRIES} entries and links in it.", element.line)


def _read_entry(element: Setting, section: str, gathered: _SectionContents) -> None:
    if "filename" not in element.members:
        refuse_description(
            f"an entry of `{section}` has no filename, and SWUpdate skips it. Add it, or remove the entry.",
            element.line,
        )
    gathered.entries.append(_entry(element, section))


def _read_partition(element: Setting, section: str, gathered: _SectionContents) -> None:
    if "filename" in element.members:
        gathered.entries.append(_entry(element, section))
        return
    _demand_types(element)
    texts = {name: _text(element.members[name], name) for name in ("name", "device", "type") if name in element.members}
    if not texts.get("device") or (texts.get("type", "ubipartition") == "ubipartition" and not texts.get("name")):
        refuse_description("an entry of `partitions` has no name or no device.", element.line)
    if "size" in element.members and element.members["size"].kind not in _INTS:
        refuse_description(
            "`size` of a partition is not a number, so SWUpdate ignores it. Write bytes without quotes.",
            element.members["size"].line,
        )
    gathered.variables.append(f"partition {texts.get('name') or texts['device']}")


def _read_variable(element: Setting, section: str, gathered: _SectionContents) -> None:
    if section != "vars" and "name" not in element.members:
        _read_entry(element, section, gathered)
        return
    pair = [_text(element.members[name], name) for name in ("name", "value") if name in element.members]
    if "name" not in element.members or not pair[0]:
        refuse_description(f"an entry of `{section}` has no name.", element.line)
    gathered.variables.append(f"{pair[0]}={pair[1]}" if len(pair) > 1 else pair[0])


_SECTIONS: dict[str, _Reader] = {
    "files": _read_entry,
    "images": _read_entry,
    "scripts": _read_entry,
    "bootenv": _read_variable,
    "uboot": _read_variable,
    "vars": _read_variable,
    "partitions": _read_partition,
}


#: every section that is looked for
_FOUND = (*_SECTIONS, *_COMMON, "embedded-script", "hardware-compatibility", "version")


def _entry(element: Setting, section: str) -> SectionEntry:
    _demand_types(element)
    texts = {name: _text(element.members[name], name) for name in _TEXTS if name in element.members}
    if not texts["filename"]:
        refuse_description("a filename is empty.", element.line)
    digest = texts.get("sha256", "")
    kind = texts.get("type") or _usual_type(section, texts)
    if section == "images" and not kind:
        refuse_description(
            f"{texts['filename'][:60]!r} has no type, no volume and no device: no handler installs it.", element.line
        )
    if not _DIGEST.fullmatch(digest) or not digest.strip("0"):
        refuse_description(f"{texts['filename'][:60]!r} has no sha256 of 64 hexadecimal digits. Add it.", element.line)
    encrypted = element.members.get("encrypted", _FALSE).value is True
    return SectionEntry(
        section,
        texts["filename"],
        digest.lower(),
        kind,
        _compression(element),
        encrypted,
        _unpacked(element),
        element.line,
    )


_FALSE = Setting(kind="bool", value=False, line=0)


def _usual_type(section: str, texts: dict[str, str]) -> str:
    """Return the handler that SWUpdate takes when none is named."""
    if section in {"files", "scripts"}:
        return {"files": "rawfile", "scripts": "lua"}[section]
    if texts.get("volume"):
        return "ubivol"
    return "raw" if texts.get("device") else ""


def _demand_types(element: Setting) -> None:
    """Refuse settings of another type than SWUpdate reads: versions ignore them, or take them for true."""
    for name in _TRUTHS:
        setting = element.members.get(name, _FALSE)
        if setting.kind != "bool":
            refuse_description(f"`{name}` is neither true nor false.", setting.line)
    if "hook" in element.members:
        refuse_description(
            "`hook` is code that changes an entry while a device reads it. Use `scripts`.", element.members["hook"].line
        )
    offset = element.members.get("offset")
    if offset is not None and not _is_offset(offset):
        refuse_description('`offset` is not a number or a string like "64K" or "4M".', offset.line)


def _is_offset(setting: Setting) -> bool:
    if setting.kind in _INTS:
        return isinstance(setting.value, int) and setting.value >= 0
    return _OFFSET.fullmatch(_text(setting, "offset")) is not None


def _compression(element: Setting) -> str:
    setting = element.members.get("compressed", _FALSE)
    if setting.kind not in {"bool", "string"} or setting.value not in _COMPRESSIONS:
        refuse_description('`compressed` must be true, false, "zlib" or "zstd".', setting.line)
    return _COMPRESSIONS[setting.value]


def _unpacked(element: Setting) -> int:
    """Return the size that the property ``decompressed-size`` gives, or 0."""
    properties = element.members.get("properties")
    if properties is None:
        return 0
    if properties.kind != "group":
        refuse_description("`properties` is not a group { … }.", properties.line)
    setting = properties.members.get("decompressed-size")
    if setting is None:
        return 0
    if not re.fullmatch(r"[0-9]{1,15}", text := _text(setting, "decompressed-size")):
        refuse_description("`decompressed-size` is not a number of bytes written as a string.", setting.line)
    return int(text)


def _text(setting: Setting, name: str) -> str:
    """Return a text, as long as SWUpdate keeps it."""
    if not isinstance(setting.value, str):
        refuse_description(f'`{name}` is not a string. Write it as "…".', setting.line)
    if len(setting.value.encode()) > MOST_TEXT:
        refuse_description(f"`{name}` has more than {MOST_TEXT} bytes, and SWUpdate truncates it.", setting.line)
    return setting.value


def listed_members(selections: list[Selection]) -> Iterator[SectionEntry]:
    """Yield each use of each member, in all selections together, once."""
    yield from dict.fromkeys(entry for selection in selections for entry in selection.entries)
