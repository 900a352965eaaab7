"""Labels of a model's classes: the same rule for what a bundle states and what a hardware model expects. Pure."""

from collections.abc import Sequence

MOST, LONGEST = 1000, 100
RULE = f"1 to {MOST} different printable strings of at most {LONGEST} characters"


def are_labels(value: Sequence[object]) -> bool:
    """Return whether a list holds usable labels; their order is the order of the output's elements."""
    texts = [item for item in value if isinstance(item, str) and 0 < len(item) <= LONGEST and item.isprintable()]
    return len(texts) == len(value) <= MOST and len(set(texts)) == len(texts) > 0
