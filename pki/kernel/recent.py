"""Short-lived cache: for values that may be a second old, never for permissions."""

import time
from collections.abc import Callable, Hashable
from typing import Any, ClassVar, Generic, TypeVar
from weakref import WeakSet

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")
MOST = 10_000


class Recent(Generic[Key, Value]):
    """Values by key, each for some seconds at most.

    Args:
        seconds: how old a value may be.
    """

    # untyped: memories of any keys and values
    _all: ClassVar["WeakSet[Recent[Any, Any]]"] = WeakSet()

    def __init__(self, seconds: float) -> None:
        Recent._all.add(self)
        self._seconds = seconds
        self._held: dict[Key, tuple[float, Value]] = {}

    def get(self, key: Key, read: Callable[[], Value]) -> Value:
        """Return the value of a key, read again when it is too old."""
        now = time.monotonic()
        held = self._held.get(key)
        if held is not None and now - held[0] < self._seconds:
            return held[1]
        if len(self._held) >= MOST:
            self._held.clear()
        value = read()
        self._held[key] = (now, value)
        return value

    def keep(self, key: Key, value: Value) -> None:
        """Store a value that was just read; it replaces an older one."""
        if len(self._held) >= MOST:
            self._held.clear()
        self._held[key] = (time.monotonic(), value)

    def forget(self) -> None:
        """Drop all values of this cache in this process."""
        self._held.clear()

    @classmethod
    def forget_all(cls) -> None:
        """Drop all values of all caches in this process."""
        for recent in cls._all:
            recent.forget()
