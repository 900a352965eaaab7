"""Numbers that others compare and that must never go back, not even after a restore."""


def next_after(last: int | None, now: int) -> int:
    """Return the number that follows ``last``: max(last + 1, unix time).

    With time in it, a database restored from an old copy still issues higher numbers than any
    that clients have seen, as long as fewer than one number a second was used.

    Args:
        last: the last number issued, or None.
        now: unix time in seconds.
    """
    return now if last is None else max(last + 1, now)
