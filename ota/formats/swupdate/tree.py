"""The settings of a description, whichever of its two forms they were written in. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn, TypeAlias

from ota.errors import RefusedBundleError

#: nesting of groups, arrays and lists; json-c reads no deeper either
MOST_DEPTH = 32

Value: TypeAlias = "str | int | float | bool | Mapping[str, Setting] | tuple[Setting, ...] | None"


@dataclass(frozen=True, slots=True)
class Setting:
    """One value.

    Args:
        kind: ``group``, ``list``, ``array``, ``string``, ``int``, ``int64``, ``float``, ``bool`` or ``null``.
        value: members of a group by name, elements of a list or array, or the value itself.
        line: where it begins; 0 in JSON, where lines are not kept.
    """

    kind: str
    value: Value
    line: int

    @property
    def members(self) -> Mapping[str, "Setting"]:
        """Return the members of a group; none of anything else."""
        return self.value if isinstance(self.value, Mapping) else {}

    @property
    def elements(self) -> "tuple[Setting, ...]":
        """Return the elements of a list or array; none of anything else."""
        return self.value if isinstance(self.value, tuple) else ()


def refuse_description(problem: str, line: int = 0) -> NoReturn:
    """Refuse a description.

    Args:
        problem: what is wrong and what to do.
        line: where, when known.

    Raises:
        RefusedBundleError: always.
    """
    place = f"sw-description, line {line}" if line else "sw-description"
    message = f"{place}: {problem}"
    raise RefusedBundleError(message)
