"""Install what belongs together: all parts are written before any is swapped in, and one that fails takes all back."""

from collections.abc import Callable, Iterable, Sequence

from fleet.agent.agreement import Assignment
from fleet.agent.errors import RefusedError
from fleet.agent.slots import Image, Slots
from pki.kernel import composite
from pki.kernel.errors import InvalidError

Bring = Callable[[Assignment, Slots], Image]


def check(data: bytes) -> None:
    """Refuse a list of parts that this device does not understand.

    Raises:
        RefusedError: it is none.
    """
    try:
        composite.read(data)
    except InvalidError as error:
        msg = f"self-test: {error.detail}"
        raise RefusedError(msg) from error


def install(
    parts: Sequence[Assignment], slots: Callable[[str], Slots], bring: Bring, test: Callable[[str], int]
) -> None:
    """Bring, swap, test and keep all parts; after a power failure it is called again and goes on where it was.

    Args:
        parts: each checked against what officers signed.
        slots: component to its slots.
        bring: writes a part's image into the slot that does not run; returns what is known of it.
        test: tests what runs of a component; returns the bytes of arena that it took.

    Raises:
        RefusedError: a part is not what was signed, or fails its test; all run what they ran before.
        TransportError: not all came; what came is kept, what ran runs on.
    """
    pairs = {one.component: slots(one.component) for one in parts}
    missing = [one for one in parts if not _runs(pairs[one.component], one)]
    try:
        brought = {one.component: bring(one, pairs[one.component]) for one in missing}
        for component, image in brought.items():
            pairs[component].swap(image)
        arenas = {component: test(component) for component in pairs}
    except RefusedError:
        take_back(pairs.values())
        raise
    for component, pair in pairs.items():
        pair.confirm(arenas[component])


def take_back(pairs: Iterable[Slots]) -> bool:
    """Let every component that is on probation run what it ran before; say whether there was one."""
    found = [pair for pair in pairs if pair.running is not None and not pair.confirmed]
    for pair in found:
        pair.roll_back()
    return bool(found)


def _runs(pair: Slots, part: Assignment) -> bool:
    return pair.running is not None and pair.running.sha256 == part.sha256
