"""Links of ``/.well-known/core`` (RFC 6690): every resource with its type. Public. Pure."""

from fleet.gateway import device_api_v1

WELL_KNOWN = (".well-known", "core")
_OWN = [
    *(
        f'</v1/{name}>;rt="muster.{name}";ct="60 50"'
        for name in device_api_v1.RESOURCES
        if name not in {"blob", "oscore"}
    ),
    '</v1/blob>;rt="muster.blob";ct=42',
]
IN_OSCORE = ",".join(_OWN)
LINKS = ",".join(
    [
        *_OWN,
        '</v1/oscore>;rt="muster.oscore";ct="60 50"',
        '</.well-known/est/crts>;rt="ace.est.crts";ct="281"',
        '</.well-known/est/att>;rt="ace.est.att";ct=285',
        '</.well-known/est/sen>;rt="ace.est.sen";ct="281 287"',
        '</.well-known/est/sren>;rt="ace.est.sren";ct="281 287"',
        '</.well-known/est/skg>;rt="ace.est.skg";ct=62',
        '</.well-known/est/skc>;rt="ace.est.skc";ct=62',
    ]
)


def find_links(resource_type: str, *, in_oscore: bool = False) -> str:
    """Return the links of a resource type (4.1), or all links; a final ``*`` matches any suffix.

    Args:
        resource_type: requested resource type.
        in_oscore: return the resources that are available over OSCORE.
    """
    listed = IN_OSCORE if in_oscore else LINKS
    if not resource_type:
        return listed
    links = []
    for link in listed.split(",<"):
        kind = link.partition('rt="')[2].partition('"')[0]
        if kind == resource_type or (resource_type.endswith("*") and kind.startswith(resource_type[:-1])):
            links.append(link if link.startswith("<") else f"<{link}")
    return ",".join(links)
