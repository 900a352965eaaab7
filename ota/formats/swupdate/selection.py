"""Find settings as a device finds them: by its board, its software set and mode, and along links. Pure.

SWUpdate looks for each section (``images``, ``version``, …) of its own in four places and takes the first that exists:
``software.BOARD.SET.MODE``, ``software.SET.MODE``, ``software.BOARD``, ``software``. A group or an element of a list
may be a link (``ref = "#./other/place"``), relative to the section it is in when it begins with a dot.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from ota.formats.swupdate.tree import Setting, refuse_description

ROOT = "software"
#: links that may be followed one after the other, as in SWUpdate
MOST_LINKS = 10
#: ways to choose a board, a set and a mode
MOST_CHOICES = 1024
Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """What a device is, and what it was asked to install; empty texts for none."""

    board: str = ""
    software_set: str = ""
    mode: str = ""

    def places(self) -> Iterator[Path]:
        """Yield where sections are looked for, in this order."""
        if self.board and self.software_set:
            yield (ROOT, self.board, self.software_set, self.mode)
        if self.software_set:
            yield (ROOT, self.software_set, self.mode)
        if self.board:
            yield (ROOT, self.board)
        yield (ROOT,)

    def __str__(self) -> str:
        words = [f"board {self.board}" if self.board else "", f"{self.software_set},{self.mode}" if self.mode else ""]
        return " with ".join(word for word in words if word) or "any other device"


@dataclass(frozen=True, slots=True)
class Section:
    """A section that was found, and the path of settings to it, from which its links are relative."""

    setting: Setting
    path: Path


def possible_choices(document: Setting) -> list[Choice]:
    """Return every choice that may make a difference: each group may be a board, and each pair of groups set and mode.

    Raises:
        RefusedBundleError: there are too many.
    """
    top = _groups(document.members[ROOT])
    boards = ["", *top]
    sets = [("", "")]
    for name, group in top.items():
        for mode, inner in _groups(group).items():
            sets.append((name, mode))
            sets += [(mode, deeper) for deeper in _groups(inner)]
    sets = list(dict.fromkeys(sets))
    if len(boards) * len(sets) > MOST_CHOICES:
        refuse_description(
            f"it holds more than {MOST_CHOICES} combinations of boards, software sets and modes. Split the archive."
        )
    return [Choice(board, *pair) for board in boards for pair in sets]


def _groups(setting: Setting) -> dict[str, Setting]:
    return {name: member for name, member in setting.members.items() if member.kind == "group"}


def find_section(document: Setting, choice: Choice, name: str) -> Section | None:
    """Return a section as a device of that choice finds it; None when it finds none.

    Raises:
        RefusedBundleError: a link on the way leads nowhere.
    """
    for place in choice.places():
        parent = _follow(document, place)
        if parent is None or name not in parent.setting.members:
            continue
        return _follow(document, (*parent.path, name))
    return None


def follow_link(document: Setting, element: Setting, section: Path) -> Section:
    """Return the list that an element of a section names instead of itself.

    Args:
        document: the whole description.
        element: with the member ``ref``.
        section: path of the list in which the element is.

    Raises:
        RefusedBundleError: it leads nowhere.
    """
    followed = _follow(document, _target(element, section))
    return followed or _broken(element)


def _follow(document: Setting, path: Path) -> Section | None:
    """Return the setting at a path; when it is a group that is a link, where the link ends."""
    setting = _at(document, path)
    for _ in range(MOST_LINKS):
        if setting is None:
            return None
        if setting.kind != "group" or "ref" not in setting.members:
            return Section(setting, path)
        path = _target(setting, path)
        setting = _at(document, path) or _broken(setting).setting
    return refuse_description(f"more than {MOST_LINKS} links (`ref`) follow one another, or they lead in a circle.")


def _at(document: Setting, path: Path) -> Setting | None:
    setting: Setting | None = document
    for name in path:
        setting = setting.members.get(name) if setting else None
    return setting


def _target(setting: Setting, path: Path) -> Path:
    """Return the path that a link names: from the top, or relative to what the link is in."""
    ref = setting.members["ref"]
    text = ref.value if isinstance(ref.value, str) else ""
    names = [name for name in text[1:].split("/") if name]
    if not text.startswith("#") or not names or names[-1] in {".", ".."}:
        refuse_description(f'the link {text[:60]!r} is not of the form ref = "#./name" or ref = "#../name".', ref.line)
    base = list(path[:-1]) if names[0] in {".", ".."} else []
    for name in names:
        if name == "..":
            if not base:
                _broken(setting)
            base.pop()
        elif name != ".":
            base.append(name)
    return tuple(base)


def _broken(setting: Setting) -> Section:
    ref = setting.members["ref"]
    return refuse_description(
        f"the link {str(ref.value)[:60]!r} leads nowhere. Correct the path, or remove it.", ref.line
    )
