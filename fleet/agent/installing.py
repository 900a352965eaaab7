"""Install assigned images into slots: write, swap on probation, test, then confirm or roll back.

An image is on probation only while this code runs. After a power failure or a crash, ``recover`` rolls it back before
any request, whatever the server does. A composite is confirmed by a single write to its own slot; its parts follow.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from fleet.agent.agreement import SignedAssignment
from fleet.agent.commands import MISMATCH
from fleet.agent.errors import RefusedError, TakenBackError
from fleet.agent.slots import SlotImage, Slots, read_verified
from ota.contract import composite
from pki.kernel.errors import InvalidError

Bring = Callable[[SignedAssignment, Slots], SlotImage]
Test = Callable[[str], int]


class Installer:
    """The slots of one device.

    Args:
        folder: folder with one folder per component.
        bring: writes an assigned image into the inactive slot; returns its facts.
        test: tests the current image of a component; returns its arena bytes, or 0 if nothing was measured.
    """

    def __init__(self, folder: Path, bring: Bring, test: Test) -> None:
        self._folder, self._bring, self._test = folder, bring, test
        self._looked = False

    def boot_trouble(self) -> str:
        """Return the images that changed on the disk since the installation; checked once after each start."""
        if self._looked:
            return ""
        self._looked = True
        try:
            self.measured()
        except (RefusedError, OSError) as error:
            return str(error)
        return ""

    def slots(self, component: str) -> Slots:
        """Return the slots of a component."""
        return Slots(self._folder / component)

    def running(self) -> dict[str, SlotImage]:
        """Return the current image of each component."""
        images = {path.name: Slots(path).running for path in sorted(self._folder.glob("*"))}
        return {name: image for name, image in images.items() if image is not None}

    def measured(self) -> dict[str, str]:
        """Return the SHA-256 of each current image, computed from the disk.

        Raises:
            RefusedError: an image differs from the installed one.
        """
        digests = {name: self.slots(name).digest(self.slots(name).image) for name in self.running()}
        for name, image in self.running().items():
            if digests[name] != image.sha256:
                msg = f"{MISMATCH}: {name} differs from the installed image: {digests[name]}"
                raise RefusedError(msg)
        return digests

    def has(self, assignment: SignedAssignment) -> bool:
        """Return whether the assigned bundle already runs, is confirmed, and is intact on the disk."""
        pair = self.slots(assignment.component)
        running, golden = pair.running, assignment.golden.sha256 if assignment.golden else ""
        facts = (assignment.sha256, assignment.version, assignment.counter, golden)
        if running is None or not pair.confirmed:
            return False
        requires = [list(requirement) for requirement in assignment.requires]
        here = (running.sha256, running.version, running.counter, running.golden)
        return here == facts and running.requires == requires and pair.matches()

    def one(self, assignment: SignedAssignment) -> None:
        """Install one component, unless it already runs.

        Raises:
            RefusedError: the received bytes are not the signed ones.
            TakenBackError: the image failed its test and was rolled back.
            TransportError: the download is incomplete, or the test cannot run now.
        """
        if self.has(assignment):
            return
        pair = self.slots(assignment.component)
        image = self._bring(assignment, pair)
        pair.swap(image)
        arenas = self._tested([pair], [assignment.component])
        pair.confirm(arenas[assignment.component])

    def together(self, assignment: SignedAssignment, parts_of: Callable[[bytes], list[SignedAssignment]]) -> None:
        """Install a composite: write all parts before any swap. One failed part rolls back all.

        Args:
            assignment: assignment of the composite.
            parts_of: verifies a list of parts against the signed metadata; returns their assignments.

        Raises:
            RefusedError: a part is not signed, or not for this device; nothing was swapped.
            TakenBackError: a part failed its test and all were rolled back.
            TransportError: a download is incomplete, or the test cannot run now.
        """
        whole = self.slots(composite.COMPONENT)
        image = self._bring(assignment, whole)
        parts = parts_of(read_verified(whole.inactive, assignment.sha256))
        missing = [part for part in parts if not self.has(part)]
        pairs = {one.component: self.slots(one.component) for one in missing}
        brought = {one.component: self._bring(one, pairs[one.component]) for one in missing}
        whole.swap(replace(image, members={name: one.sha256 for name, one in brought.items()}))
        for name, one in brought.items():
            pairs[name].swap(one)
        arenas = self._tested([whole, *pairs.values()], [part.component for part in parts])
        whole.confirm()  # from here on the composite is confirmed
        for name, pair in pairs.items():
            pair.confirm(arenas[name])
        whole.complete()

    def recover(self) -> bool:
        """Roll back images on probation, or finish a confirmed composite. Return whether anything changed."""
        kept = self._following()
        slots = {name: self.slots(name) for name in self.running() if not self.slots(name).confirmed}
        for name, pair in slots.items():
            if pair.running is not None and kept.get(name) == pair.running.sha256 and pair.matches():
                pair.confirm()
            else:
                pair.roll_back()
        if kept:
            self.slots(composite.COMPONENT).complete()
        return bool(slots)

    def _following(self) -> Mapping[str, str]:
        """Return the parts of a confirmed composite: component to SHA-256."""
        running = self.running().get(composite.COMPONENT)
        return running.members if running is not None and self.slots(composite.COMPONENT).confirmed else {}

    def _tested(self, pairs: Iterable[Slots], components: Iterable[str]) -> dict[str, int]:
        """Test components. Roll all back if one fails, cannot be tested, or was replaced meanwhile."""
        pairs = list(pairs)
        try:
            arenas = {name: self._test(name) for name in components}
            for pair in pairs:
                pair.check_bytes()
        except Exception as error:
            for pair in pairs:
                pair.roll_back()
            if isinstance(error, RefusedError):
                raise TakenBackError(str(error)) from error
            raise
        return arenas


def check_parts(data: bytes) -> None:
    """Refuse a list of parts that this device does not support.

    Raises:
        RefusedError: it is not a list of parts.
    """
    try:
        composite.read_parts(data)
    except InvalidError as error:
        msg = f"self-test: {error.detail}"
        raise RefusedError(msg) from error
