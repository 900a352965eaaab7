"""Numbers of things as people write them."""


def number_of(number: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun: "1 device", "2,500 devices".

    Args:
        number: how many.
        noun: in the singular.
        plural: where it is not the noun with an s.
    """
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"
