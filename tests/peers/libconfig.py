"""The library libconfig itself, in a process of its own: ``python -m tests.peers.libconfig`` reads texts and prints trees.

One text per line in hexadecimal on standard input, one tree per line in JSON on standard output; ``null`` for a text that
the library refuses. The library is called by ``ctypes``; where it crashes, the process ends.
"""

import ctypes
import ctypes.util
import json
import subprocess
import sys

from tests.architecture.sources import ROOT

KINDS = {1: "group", 2: "int", 3: "int64", 4: "float", 5: "string", 6: "bool", 7: "array", 8: "list"}
#: more than any version's config_t takes
ROOM = 4096
CRASHED = "the library crashed"


def trees(texts):
    """Return what the library makes of each text: a tree, None, or ``CRASHED``."""
    found, left = [], list(texts)
    while left:
        command = [sys.executable, "-m", "tests.peers.libconfig"]
        lines = "".join(text.hex() + "\n" for text in left)
        done = subprocess.run(command, input=lines, capture_output=True, text=True, cwd=ROOT, check=False)
        said = [json.loads(line) for line in done.stdout.splitlines()]
        found += said
        if len(said) < len(left):
            found.append(CRASHED)
        left = left[len(said) + 1 :]
    return found


def library_name():
    """Return the file of the library, or None."""
    return ctypes.util.find_library("config")


class Library:
    """The calls that are needed."""

    def __init__(self):
        self.calls = ctypes.CDLL(library_name())
        pointer, number = ctypes.c_void_p, ctypes.c_int
        for name, result, arguments in (
            ("config_init", None, [pointer]),
            ("config_destroy", None, [pointer]),
            ("config_read_string", number, [pointer, ctypes.c_char_p]),
            ("config_setting_length", number, [pointer]),
            ("config_setting_get_elem", pointer, [pointer, ctypes.c_uint]),
            ("config_setting_get_string", ctypes.c_char_p, [pointer]),
            ("config_setting_get_int", number, [pointer]),
            ("config_setting_get_int64", ctypes.c_longlong, [pointer]),
            ("config_setting_get_float", ctypes.c_double, [pointer]),
            ("config_setting_get_bool", number, [pointer]),
        ):
            call = getattr(self.calls, name)
            call.restype, call.argtypes = result, arguments

    def tree(self, text):
        """Return the tree of one text, or None."""
        room = ctypes.create_string_buffer(ROOM)
        self.calls.config_init(room)
        try:
            if not self.calls.config_read_string(room, text):
                return None
            return self._setting(ctypes.cast(room, ctypes.POINTER(ctypes.c_void_p))[0])
        finally:
            self.calls.config_destroy(room)

    def _setting(self, setting):
        kind = KINDS[ctypes.cast(setting + ctypes.sizeof(ctypes.c_void_p), ctypes.POINTER(ctypes.c_short))[0]]
        if kind in {"group", "list", "array"}:
            count = self.calls.config_setting_length(setting)
            inside = [self.calls.config_setting_get_elem(setting, number) for number in range(count)]
            if kind == "group":
                return [kind, {self._name(one): self._setting(one) for one in inside}]
            return [kind, [self._setting(one) for one in inside]]
        value = getattr(self.calls, f"config_setting_get_{kind}")(setting)
        return [kind, value.decode("latin-1") if kind == "string" else repr(value) if kind == "float" else int(value)]

    def _name(self, setting):
        return ctypes.cast(setting, ctypes.POINTER(ctypes.c_char_p))[0].decode("latin-1")


def main():
    """Answer line by line."""
    library = Library()
    for line in sys.stdin:
        print(json.dumps(library.tree(bytes.fromhex(line))), flush=True)


if __name__ == "__main__":
    main()
