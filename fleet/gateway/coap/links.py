"""What ``/.well-known/core`` lists (RFC 6690): every resource with its type, to whoever asks. Pure."""

from fleet.gateway import native

WELL_KNOWN = (".well-known", "core")
LINKS = ",".join(
    [
        *(f'</v1/{name}>;rt="muster.{name}";ct="60 50"' for name in native.RESOURCES if name != "blob"),
        '</v1/blob>;rt="muster.blob";ct=42',
        '</.well-known/est/crts>;rt="ace.est.crts";ct="281"',
        '</.well-known/est/att>;rt="ace.est.att";ct=285',
        '</.well-known/est/sen>;rt="ace.est.sen";ct="281 287"',
        '</.well-known/est/sren>;rt="ace.est.sren";ct="281 287"',
        '</.well-known/est/skg>;rt="ace.est.skg";ct=62',
        '</.well-known/est/skc>;rt="ace.est.skc";ct=62',
    ]
)


def links(wanted: str) -> str:
    """Return the links whose resource type is asked for (4.1), or all; ``*`` ends a beginning."""
    if not wanted:
        return LINKS
    found = []
    for link in LINKS.split(",<"):
        kind = link.partition('rt="')[2].partition('"')[0]
        if kind == wanted or (wanted.endswith("*") and kind.startswith(wanted[:-1])):
            found.append(link if link.startswith("<") else f"<{link}")
    return ",".join(found)
