"""Patches that bring devices to a bundle, and what they save."""

from dataclasses import dataclass

from ota.models import Bundle, BundleFile, Delta


@dataclass(frozen=True, slots=True)
class Patch:
    """One patch, or the note that a format is no good for a pair of images.

    Args:
        base: version that it starts from; empty for the packed image, which needs none; None for an unknown image.
        format: by name.
        size: in bytes; 0 when there is none.
        saved: share of the image that a device need not fetch, 0 to 1.
        trouble: why there is none.
    """

    base: str | None
    format: str
    size: int
    saved: float
    trouble: str

    @property
    def percent(self) -> int:
        """Return what is saved in whole per cent, never more than it is."""
        return int(self.saved * 100)


def of_bundle(bundle: Bundle) -> list[Patch]:
    """Return what was made for a bundle's image, those that save most first."""
    image = bundle.image
    rows = list(Delta.objects.filter(domain=bundle.domain_id, result=image.sha256))
    known = BundleFile.objects.filter(
        bundle__domain=bundle.domain_id, role="image", sha256__in={row.base for row in rows if row.base}
    )
    versions = {"": "", **dict(known.values_list("sha256", "bundle__version"))}
    found = [
        Patch(
            base=versions.get(row.base),
            format=row.format,
            size=row.size,
            saved=0.0 if row.trouble else max(1 - row.size / max(image.size, 1), 0.0),
            trouble=row.trouble,
        )
        for row in rows
    ]
    return sorted(found, key=lambda one: (-one.saved, one.format, one.base or ""))
