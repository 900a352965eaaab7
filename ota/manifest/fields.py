"""Take typed fields out of a JSON object one by one, and refuse what is left over."""

import re

from ota.errors import ManifestError

_LONGEST = 200


class Fields:
    """One JSON object that is being read.

    Args:
        value: what JSON gave; anything but an object is refused.
        place: its location, for error messages.
    """

    def __init__(self, value: object, place: str) -> None:
        if not isinstance(value, dict):
            msg = f"{place}: a JSON object is expected."
            raise ManifestError(msg)
        self._left: dict[str, object] = dict(value)
        self.place = place

    def has(self, name: str) -> bool:
        """Return whether a field is there and not yet taken."""
        return name in self._left

    def text(
        self,
        name: str,
        *,
        pattern: re.Pattern[str] | None = None,
        longest: int = _LONGEST,
        optional: bool = False,
    ) -> str:
        """Take a printable text; an absent optional one is empty."""
        if optional and name not in self._left:
            return ""
        value = self._take(name)
        if not isinstance(value, str) or not 0 < len(value) <= longest or not value.isprintable():
            msg = f"{self.place}: {name} must be a printable text of at most {longest} characters."
            raise ManifestError(msg)
        if pattern is not None and not pattern.fullmatch(value):
            msg = f"{self.place}: {name} is {value[:60]!r}, which is not of the form {pattern.pattern}."
            raise ManifestError(msg)
        return value

    def texts(self, name: str, least: int, most: int) -> list[str]:
        """Take a list of short texts."""
        value = self._list(name, least, most)
        texts = [item for item in value if isinstance(item, str) and len(item) <= _LONGEST]
        if len(texts) != len(value):
            msg = f"{self.place}: {name} must be a list of strings."
            raise ManifestError(msg)
        return texts

    def integer(self, name: str, least: int, most: int) -> int:
        """Take a whole number in a range."""
        value = self._take(name)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            msg = f"{self.place}: {name} must be a whole number from {least} to {most}."
            raise ManifestError(msg)
        return value

    def group(self, name: str) -> "Fields":
        """Take an object within this one."""
        return Fields(self._take(name), f"{self.place} {name}")

    def items(self, name: str, least: int, most: int, *, optional: bool = False) -> list["Fields"]:
        """Take a list of objects; an absent optional one is empty."""
        if optional and name not in self._left:
            return []
        value = self._list(name, least, most)
        return [Fields(item, f"{self.place} {name}[{index}]") for index, item in enumerate(value)]

    def done(self) -> None:
        """Refuse unknown fields."""
        if self._left:
            names = ", ".join(sorted(self._left))[:100]
            msg = f"{self.place}: unknown fields: {names}."
            raise ManifestError(msg)

    def _take(self, name: str) -> object:
        if name not in self._left:
            msg = f"{self.place}: {name} is missing."
            raise ManifestError(msg)
        return self._left.pop(name)

    def _list(self, name: str, least: int, most: int) -> list[object]:
        value = self._take(name)
        if not isinstance(value, list) or not least <= len(value) <= most:
            msg = f"{self.place}: {name} must be a list of {least} to {most} items."
            raise ManifestError(msg)
        return value
