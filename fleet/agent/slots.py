"""A/B slots in files: the running image stays intact until the new one is confirmed."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal, NotRequired, TypedDict

from fleet.agent.errors import RefusedError
from pki.kernel import files


@dataclass(frozen=True, slots=True)
class SlotImage:
    """The facts about an image in a slot.

    Args:
        version: version for display.
        sha256: of its bytes, in hex.
        counter: its security counter.
        golden: SHA-256 of its golden vectors; empty without vectors.
        arena: measured arena bytes of the model; 0 if nothing was measured.
        requires: required components: name, lowest counter, highest counter or None.
        members: parts of a composite that is being confirmed: component to SHA-256.
    """

    version: str
    sha256: str
    counter: int
    golden: str = ""
    arena: int = 0
    requires: list[list[Any]] = field(default_factory=list)  # untyped: three in a list, as JSON has it
    members: Mapping[str, str] = field(default_factory=dict)

    def report(self, *, confirmed: bool) -> dict[str, object]:
        """Return the facts in the form of a report."""
        names = ("version", "sha256", "counter", *(("arena",) if self.arena else ()))
        return {**{name: getattr(self, name) for name in names}, "confirmed": confirmed}


Slot = Literal["a", "b"]


class ImageFacts(TypedDict):
    """An ``Image`` as ``slots.json`` keeps it; older agents wrote fewer fields."""

    version: str
    sha256: str
    counter: int
    golden: NotRequired[str]
    arena: NotRequired[int]
    requires: NotRequired[list[list[Any]]]  # untyped: as above
    members: NotRequired[Mapping[str, str]]


class SlotState(TypedDict):
    """``slots.json``: the active slot, whether it is confirmed, and the facts about each slot."""

    active: Slot
    confirmed: bool
    a: NotRequired[ImageFacts]
    b: NotRequired[ImageFacts]


class Slots:
    """Two slots of one component.

    Args:
        folder: of the component.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = files.private_folder(folder)
        self._state = self._folder / "slots.json"

    @property
    def running(self) -> SlotImage | None:
        """Return the current image."""
        return self._image(self._read()["active"])

    @property
    def confirmed(self) -> bool:
        """Return whether the current image is confirmed."""
        return bool(self._read()["confirmed"])

    @property
    def inactive(self) -> Path:
        """Return the file of the inactive slot."""
        return self._file(_other(self._read()["active"]))

    def provision(self, data: bytes, image: SlotImage) -> None:
        """Install the factory image if the component has none."""
        if self.running is None:
            files.write_private(self._file("a"), data)
            self._write({"active": "a", "confirmed": True, "a": _plain(image)})

    def clear(self) -> None:
        """Clear the facts about the inactive slot before a write to it."""
        state = self._read()
        if not state["confirmed"]:
            raise RefusedError(_ON_PROBATION)
        if state.pop(_other(state["active"]), None):
            self._write(state)

    def swap(self, image: SlotImage) -> None:
        """Boot the inactive slot on probation. The previous image stays in the other slot.

        Raises:
            RefusedError: the current image is itself on probation, so there would be no image for a rollback; or the
                bytes in the slot are not the verified ones.
        """
        state = self._read()
        if not state["confirmed"]:
            raise RefusedError(_ON_PROBATION)
        target = _other(state["active"])
        self._demand(target, image.sha256)
        state[target] = _plain(image)
        self._write({**state, "active": target, "confirmed": False})

    def confirm(self, arena: int = 0) -> None:
        """Confirm the current image, and store its arena size.

        Raises:
            RefusedError: the bytes in its slot are not the verified ones; it is rolled back.
        """
        state = self._read()
        try:
            self.check_bytes()
        except RefusedError:
            self.roll_back()
            raise
        if arena:
            state[state["active"]]["arena"] = arena
        self._write({**state, "confirmed": True})

    def complete(self) -> None:
        """Record that all parts of the current image are confirmed too."""
        state = self._read()
        if state.get(state["active"], {}).get("members"):
            state[state["active"]]["members"] = {}
            self._write(state)

    def put_golden(self, data: bytes) -> None:
        """Store golden vectors for the image in the inactive slot."""
        files.write_private(self._golden(_other(self._read()["active"])), data)

    def read_golden(self) -> bytes | None:
        """Return the golden vectors of the current image, or None without vectors.

        Raises:
            RefusedError: the bytes on the disk are not the signed ones.
        """
        running = self.running
        if running is None or not running.golden:
            return None
        try:
            return read_verified(self._golden(self._read()["active"]), running.golden)
        except RefusedError as error:
            msg = "self-test: the golden vectors on this disk are damaged"
            raise RefusedError(msg) from error

    @property
    def image(self) -> Path:
        """Return the file of the current image."""
        return self._file(self._read()["active"])

    def roll_back(self) -> None:
        """Roll back to the other slot if the current image is on probation. Confirmed images stay."""
        state = self._read()
        if state["confirmed"]:
            return
        self._write({**state, "active": _other(state["active"]), "confirmed": True})

    def digest(self, path: Path) -> str:
        """Return the hex SHA-256 of a file."""
        with files.open_plain(path) as file:
            return digest_of_rest(file)

    def read_running(self) -> bytes:
        """Return the bytes of the current image.

        Raises:
            RefusedError: they are not the verified ones.
        """
        state = self._read()
        return read_verified(self._file(state["active"]), state[state["active"]]["sha256"])

    def read_kept(self) -> bytes | None:
        """Return the bytes of the last confirmed image, or None.

        Raises:
            RefusedError: they are not the verified ones.
        """
        state = self._read()
        slot = state["active"] if state["confirmed"] else _other(state["active"])
        return read_verified(self._file(slot), state[slot]["sha256"]) if state.get(slot) else None

    def matches(self) -> bool:
        """Return whether the bytes in the active slot match the current image."""
        running = self.running
        try:
            return running is not None and self.digest(self.image) == running.sha256
        except OSError:
            return False

    def check_bytes(self) -> None:
        """Refuse if the bytes in the active slot do not match the current image.

        Raises:
            RefusedError: they are not.
        """
        state = self._read()
        self._demand(state["active"], state[state["active"]]["sha256"])

    def _demand(self, slot: Slot, sha256: str) -> None:
        try:
            digest = self.digest(self._file(slot))
        except OSError as error:
            digest = str(error)
        if digest != sha256:
            msg = f"the bytes in slot {slot} are not those that were verified (sha256 {digest[:12]}…)"
            raise RefusedError(msg)

    def _file(self, slot: Slot) -> Path:
        return self._folder / f"slot-{slot}.bin"

    def _golden(self, slot: Slot) -> Path:
        return self._folder / f"golden-{slot}.cbor"

    def _image(self, slot: Slot) -> SlotImage | None:
        known = self._read().get(slot)
        return SlotImage(**known) if known else None

    def _read(self) -> SlotState:
        if not self._state.exists():
            return {"active": "b", "confirmed": True}
        state: SlotState = json.loads(self._state.read_text())
        return state

    def _write(self, state: SlotState) -> None:
        files.write_private(self._state, json.dumps(state, sort_keys=True).encode())


_ON_PROBATION = "the current image is still on probation; the slot for its rollback must not be overwritten"


def digest_of_rest(file: BinaryIO) -> str:
    """Return the hex SHA-256 of what an open file holds from here on."""
    digest = hashlib.sha256()
    while chunk := file.read(1 << 20):
        digest.update(chunk)
    return digest.hexdigest()


def read_verified(path: Path, sha256: str) -> bytes:
    """Return the bytes of a file, read once, if they have this digest.

    Raises:
        RefusedError: they have another one, or the file is gone.
    """
    try:
        with files.open_plain(path) as file:
            data = file.read()
    except OSError as error:
        msg = f"{path.name} cannot be read: {error}"
        raise RefusedError(msg) from error
    if hashlib.sha256(data).hexdigest() != sha256:
        msg = f"the bytes of {path.name} are not those that were verified"
        raise RefusedError(msg)
    return data


def open_part(part: Path) -> BinaryIO:
    """Open a file that is written before it gets its name in a slot, new or to go on with; no link is followed."""
    descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    return os.fdopen(descriptor, "r+b")


def put_in_place(written: BinaryIO, part: Path, target: Path) -> None:
    """Give a file that was written and verified through one descriptor its name in a slot.

    Args:
        written: the open file whose bytes were verified.
        part: the name under which it was written.
        target: the slot's file.

    Raises:
        RefusedError: what carries the name now is another file: it was exchanged in between.
    """
    written.flush()
    os.fsync(written.fileno())
    part.replace(target)
    with files.open_plain(target) as placed:
        if not os.path.samestat(os.fstat(placed.fileno()), os.fstat(written.fileno())):
            msg = f"{target.name} was replaced after its bytes were verified"
            raise RefusedError(msg)


def _other(slot: Slot) -> Slot:
    return "b" if slot == "a" else "a"


def _plain(image: SlotImage) -> ImageFacts:
    facts: ImageFacts = asdict(image)  # type: ignore[assignment]  # the fields are the same
    return facts


def load_image(path: Path) -> tuple[bytes, SlotImage]:
    """Return a factory image and what is known of it: ``FILE`` beside ``FILE.json``."""
    facts = json.loads(path.with_name(f"{path.name}.json").read_text())
    return path.read_bytes(), SlotImage(facts["version"], facts["sha256"], facts["counter"])
