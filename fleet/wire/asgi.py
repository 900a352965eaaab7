"""ASGI types of all listeners. The ASGI specification defines the keys."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

Scope = dict[str, Any]  # untyped: each key has a type of its own, and servers add keys
Message = Mapping[str, Any]  # untyped: each key has a type of its own
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
