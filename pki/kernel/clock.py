"""The only source of the current time, so that tests can freeze the clock."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime

_held: ContextVar[datetime | None] = ContextVar("held_time", default=None)


def now() -> datetime:
    """Return the current time, aware, in UTC."""
    return _held.get() or datetime.now(UTC)


def unix() -> int:
    """Return the current time in whole seconds since 1970-01-01 UTC."""
    return int(now().timestamp())


@contextmanager
def frozen(at: datetime) -> Iterator[None]:
    """Freeze the clock at an aware time inside the block (this context only; used by tests)."""
    token = _held.set(at.astimezone(UTC))
    try:
        yield
    finally:
        _held.reset(token)
