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
class Image:
    """What is known of an image in a slot.

    Args:
        version: for people.
        sha256: of its bytes, in hex.
        counter: its security counter.
        golden: SHA-256 of the golden vectors beside it; empty when it came without.
        arena: bytes that the model took when they ran; 0 when nothing was measured.
        requires: what must run beside it: component, lowest counter, highest counter or None.
        members: of a composite that is being kept: component to the SHA-256 that follows it.
    """

    version: str
    sha256: str
    counter: int
    golden: str = ""
    arena: int = 0
    requires: list[list[Any]] = field(default_factory=list)  # untyped: three in a list, as JSON has it
    members: Mapping[str, str] = field(default_factory=dict)

    def report(self, *, confirmed: bool) -> dict[str, object]:
        """Return it as a report says it."""
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
    """``slots.json``: which slot runs, whether it has confirmed itself, and what is known of each."""

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
    def running(self) -> Image | None:
        """Return the image that runs."""
        return self._image(self._read()["active"])

    @property
    def confirmed(self) -> bool:
        """Say whether the running image has confirmed itself."""
        return bool(self._read()["confirmed"])

    @property
    def inactive(self) -> Path:
        """Return the file of the slot that does not run."""
        return self._file(_other(self._read()["active"]))

    def provision(self, data: bytes, image: Image) -> None:
        """Put the factory image in, if the component has none."""
        if self.running is None:
            files.write_private(self._file("a"), data)
            self._write({"active": "a", "confirmed": True, "a": _plain(image)})

    def clear(self) -> None:
        """Forget what is known of the slot that does not run, before anything is written into it."""
        state = self._read()
        if not state["confirmed"]:
            raise RefusedError(_ON_PROBATION)
        if state.pop(_other(state["active"]), None):
            self._write(state)

    def swap(self, image: Image) -> None:
        """Boot the inactive slot, on probation: what ran stays in the other one.

        Raises:
            RefusedError: what runs is on probation itself, so that nothing would be left to go back to; or the bytes
                in the slot are not those that were verified.
        """
        state = self._read()
        if not state["confirmed"]:
            raise RefusedError(_ON_PROBATION)
        target = _other(state["active"])
        self._demand(target, image.sha256)
        state[target] = _plain(image)
        self._write({**state, "active": target, "confirmed": False})

    def confirm(self, arena: int = 0) -> None:
        """Keep the image that runs, and what it took of the arena.

        Raises:
            RefusedError: the bytes in its slot are not those that were verified; it is taken back.
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
        """Note that everything which belongs to the image that runs is kept too."""
        state = self._read()
        if state.get(state["active"], {}).get("members"):
            state[state["active"]]["members"] = {}
            self._write(state)

    def put_golden(self, data: bytes) -> None:
        """Keep golden vectors for the image in the slot that does not run."""
        files.write_private(self._golden(_other(self._read()["active"])), data)

    def read_golden(self) -> bytes | None:
        """Return the vectors of the image that runs, or None when it came without.

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
        """Return the file of the image that runs."""
        return self._file(self._read()["active"])

    def roll_back(self) -> None:
        """Boot the other slot again, if what runs is on probation; what has confirmed itself is never left."""
        state = self._read()
        if state["confirmed"]:
            return
        self._write({**state, "active": _other(state["active"]), "confirmed": True})

    def digest(self, path: Path) -> str:
        """Return the hex SHA-256 of a file."""
        with files.open_plain(path) as file:
            return digest_of(file)

    def read_running(self) -> bytes:
        """Return the bytes of the image that runs.

        Raises:
            RefusedError: they are not those that were verified.
        """
        state = self._read()
        return read_verified(self._file(state["active"]), state[state["active"]]["sha256"])

    def read_kept(self) -> bytes | None:
        """Return the bytes of the last image that has confirmed itself, or None when none has.

        Raises:
            RefusedError: they are not those that were verified.
        """
        state = self._read()
        slot = state["active"] if state["confirmed"] else _other(state["active"])
        return read_verified(self._file(slot), state[slot]["sha256"]) if state.get(slot) else None

    def matches(self) -> bool:
        """Say whether the bytes in the active slot are those of the image that runs."""
        running = self.running
        try:
            return running is not None and self.digest(self.image) == running.sha256
        except OSError:
            return False

    def check_bytes(self) -> None:
        """Refuse when the bytes in the active slot are not those of the image that runs.

        Raises:
            RefusedError: they are not.
        """
        state = self._read()
        self._demand(state["active"], state[state["active"]]["sha256"])

    def _demand(self, slot: Slot, sha256: str) -> None:
        try:
            found = self.digest(self._file(slot))
        except OSError as error:
            found = str(error)
        if found != sha256:
            msg = f"the bytes in slot {slot} are not those that were verified (sha256 {found[:12]}…)"
            raise RefusedError(msg)

    def _file(self, slot: Slot) -> Path:
        return self._folder / f"slot-{slot}.bin"

    def _golden(self, slot: Slot) -> Path:
        return self._folder / f"golden-{slot}.cbor"

    def _image(self, slot: Slot) -> Image | None:
        known = self._read().get(slot)
        return Image(**known) if known else None

    def _read(self) -> SlotState:
        if not self._state.exists():
            return {"active": "b", "confirmed": True}
        state: SlotState = json.loads(self._state.read_text())
        return state

    def _write(self, state: SlotState) -> None:
        files.write_private(self._state, json.dumps(state, sort_keys=True).encode())


_ON_PROBATION = "the current image is still on probation; the slot for its rollback must not be overwritten"


def digest_of(file: BinaryIO) -> str:
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


def _plain(image: Image) -> ImageFacts:
    facts: ImageFacts = asdict(image)  # type: ignore[assignment]  # the fields are the same
    return facts


def load_image(path: Path) -> tuple[bytes, Image]:
    """Return a factory image and what is known of it: ``FILE`` beside ``FILE.json``."""
    facts = json.loads(path.with_name(f"{path.name}.json").read_text())
    return path.read_bytes(), Image(facts["version"], facts["sha256"], facts["counter"])
