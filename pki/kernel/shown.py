"""Untrusted text, made safe for a terminal: nothing in it can move the cursor or begin a line."""


def make_printable(text: str) -> str:
    """Return a text in which every character that is not printable is a question mark."""
    return "".join(char if char.isprintable() else "?" for char in text)
