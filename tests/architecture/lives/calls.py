"""Note when functions of the project are called, in every thread of this process."""

import json
import sys
import threading
import time

from tests.architecture.sources import LAYERS, ROOT

#: of all processes of this machine: the monotonic clock is one
now = time.monotonic_ns


class Calls:
    """The times of calls by function, which is written as ``path: qualified name``; begun before threads are."""

    def __init__(self):
        self._names, self._kept = {}, []
        self.first, self.last = {}, {}

    def begin(self):
        """Note calls from now on, also in threads that start later."""
        threading.setprofile(self._noticed)
        sys.setprofile(self._noticed)

    def forget(self):
        """Begin a new life: only later calls count."""
        self.first, self.last = {}, {}

    def await_call(self, function, since, seconds=60):
        """Wait until a function is called after a moment."""
        deadline = time.monotonic() + seconds
        while self.last.get(function, 0) < since:
            assert time.monotonic() < deadline, f"{function} is not called"
            time.sleep(0.005)

    def _noticed(self, frame, event, _argument):
        if event != "call":
            return
        code = frame.f_code
        name = self._names.get(id(code))
        if name is None:
            name = self._names[id(code)] = name_of(code)
            self._kept.append(code)  # or another one could get its id
        if name:
            self.last[name] = moment = now()
            self.first.setdefault(name, moment)


class AllCalls(Calls):
    """All times, of a process that does not know which life is lived."""

    def __init__(self):
        super().__init__()
        self.times = []

    def _noticed(self, frame, event, argument):
        super()._noticed(frame, event, argument)
        if event == "call" and (name := self._names[id(frame.f_code)]):
            self.times.append((self.last[name], name))

    def write(self, path):
        """Write what was noted."""
        path.write_text(json.dumps(self.times))


def name_of(code):
    """Return ``path: qualified name`` of the project's own code, or nothing."""
    path = code.co_filename
    if not path.startswith(PREFIXES):
        return ""
    return f"{path[len(str(ROOT)) + 1 :]}: {code.co_qualname}"


PREFIXES = tuple(f"{ROOT}/{layer}/" for layer in LAYERS)
