"""The types of ASGI, as every listener here uses them; the specification says which key holds what."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

Scope = dict[str, Any]  # untyped: each key has a type of its own, and servers add keys
Message = Mapping[str, Any]  # untyped: each key has a type of its own
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
