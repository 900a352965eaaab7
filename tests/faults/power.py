"""What a power cut would have left of a folder, from a trace of what programs did to it (``unsynced.c``).

The model is the one that databases assume: a file's bytes are safe once an fsync of that file has returned; of what
came after, anything may be there or missing, and the last write may be torn. A rename or a removal is safe once the
folder was synced; before that it may have happened or not.
"""

import os
import random
import struct
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

SOURCE = Path(__file__).with_name("unsynced.c")
#: a record of the trace that no program wrote: what somebody outside was told
SAID = "A"


def build(folder):
    """Compile the layer and return the library."""
    library = folder / "unsynced.so"
    command = ["cc", "-shared", "-fPIC", "-O2", "-o", str(library), str(SOURCE), "-ldl"]
    subprocess.run(command, check=True, capture_output=True)
    return library


def environment(library, root, trace):
    """Return what puts the layer under a program."""
    return {"LD_PRELOAD": str(library), "UNSYNCED_ROOT": str(root.resolve()), "UNSYNCED_TRACE": str(trace)}


def say(trace, text):
    """Write into the trace what the outside has just been told: from here on it may not be lost."""
    body = struct.pack("<cQH", SAID.encode(), 0, 0) + text.encode()
    descriptor = os.open(trace, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, struct.pack("<I", len(body)) + body)
    os.close(descriptor)


@dataclass(frozen=True)
class Step:
    """One record: W(rite), T(runcate), S(ync), R(ename), U(nlink) or A (somebody was told)."""

    kind: str
    path: str
    offset: int
    data: bytes


def read(trace):
    """Return the steps, oldest first."""
    data, steps, at = trace.read_bytes(), [], 0
    while at + 4 <= len(data):
        (length,) = struct.unpack_from("<I", data, at)
        kind, offset, name = struct.unpack_from("<cQH", data, at + 4)
        start = at + 4 + 11
        path = data[start : start + name].decode()
        steps.append(Step(kind.decode(), path, offset, data[start + name : at + 4 + length]))
        at += 4 + length
    return steps


@dataclass
class Disk:
    """The folder as the platter has it, and what is still on the way to it.

    Args:
        files: path (as the trace says it) to the bytes that are safe.
        waiting: path to writes that no sync has followed.
        moves: renames and removals that no sync of a folder has followed.
        told: what the outside was told so far.
    """

    files: dict[str, bytearray]
    waiting: dict[str, list[Step]] = field(default_factory=dict)
    moves: list[Step] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, folder):
        """Return a disk on which everything beneath a folder is safe."""
        paths = [path for path in folder.rglob("*") if path.is_file()]
        return cls({f"/{path.relative_to(folder)}": bytearray(path.read_bytes()) for path in paths})

    def step(self, step):
        """Let one more step happen."""
        if step.kind == SAID:
            self.told.append(step.data.decode())
        elif step.kind in "WT":
            # A file of a name that was removed is another file: its bytes are not the removed one's.
            self._settle([one for one in self.moves if one.path == step.path])
            self.waiting.setdefault(step.path, []).append(step)
        elif step.kind in "RU":
            self.moves.append(step)
        elif step.kind == "S":
            self._sync(step.path)

    def _sync(self, path):
        for one in self.waiting.pop(path, []):
            _apply(self.files, one)
        # A synced folder makes its renames safe.
        self._settle([one for one in self.moves if str(Path(one.path).parent) == path])

    def _settle(self, moves):
        for one in moves:
            self._move(self.files, self.waiting, one)
            self.moves.remove(one)

    def _move(self, files, waiting, one):
        content, late = files.pop(one.path, None), waiting.pop(one.path, None)
        if one.kind == "R":
            target = one.data.decode()
            if content is not None:
                files[target] = content
            if late:
                waiting[target] = late

    def cut(self, chance, share):
        """Return path to bytes after a power cut.

        Args:
            chance: a random.Random.
            share: of the unsynced writes and moves that reach the platter nevertheless, 0 to 1.
        """
        files = {path: bytearray(data) for path, data in self.files.items()}
        waiting = {path: list(steps) for path, steps in self.waiting.items()}
        for one in self.moves:
            if chance.random() < share:
                self._move(files, waiting, one)
        for steps in waiting.values():
            for number, one in enumerate(steps):
                if chance.random() < share:
                    torn = number == len(steps) - 1 and one.kind == "W" and share < 1
                    data = one.data[: chance.randrange(len(one.data) + 1)] if torn else one.data
                    _apply(files, Step(one.kind, one.path, one.offset, data))
        return files


def _apply(files, step):
    content = files.setdefault(step.path, bytearray())
    if step.kind == "T":
        del content[step.offset :]
        content.extend(bytes(step.offset - len(content)))
        return
    if len(content) < step.offset:
        content.extend(bytes(step.offset - len(content)))
    content[step.offset : step.offset + len(step.data)] = step.data


def cuts(folder, steps, many, seed):
    """Yield (what the outside had been told, path to bytes) for many power cuts, spread over a trace."""
    chance = random.Random(seed)
    places = sorted(chance.sample(range(1, len(steps) + 1), min(many, len(steps))))
    disk, at = Disk.of(folder), 0
    for place in places:
        for step in steps[at:place]:
            disk.step(step)
        at = place
        yield list(disk.told), disk.cut(chance, chance.choice([0.0, 0.5, 1.0]))
