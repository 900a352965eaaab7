"""Take secrets out of a device's log before it is kept. Pure.

A device should redact its own logs; this is for those that do not. It removes too much rather than too little.
"""

import re

GONE = "[redacted]"
_PATTERNS = (
    re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|\Z)", re.DOTALL),
    re.compile(r"(?i)\b(?:bearer|basic)\s+[a-z0-9._~+/=-]{6,}"),
    re.compile(
        r"(?i)\b(?:pass(?:word|wd|phrase)?|pwd|psk|secret|token|api[-_]?key|pin)\b\s*[\"']?\s*[:=]\s*[\"']?[^\s\"',;]+"
    ),
    re.compile(r"(?i)(?<=://)[^/\s:@]+:[^/\s@]+(?=@)"),
    re.compile(r"\b(?:mst|ghp|xox[abp]|AKIA)[_-]?[A-Za-z0-9]{12,}\b"),
)


def redact_log(text: str) -> str:
    """Return a text without private keys, passwords, tokens and credentials in addresses."""
    for pattern in _PATTERNS:
        text = pattern.sub(GONE, text)
    return "".join(char if char in "\n\t" or char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
