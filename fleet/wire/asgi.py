"""The types of ASGI, as every listener here uses them; the specification says which key holds what."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any  # the value of each key of a scope or a message has a type of its own, and servers add keys

Scope = dict[str, Any]  # as above
Message = Mapping[str, Any]  # as above
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
