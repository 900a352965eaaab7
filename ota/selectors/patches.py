"""Patches to a bundle, what they save, and their results in a rollout."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import Sum

from ota.models import Bundle, BundleFile, Delta, PatchCount, PatchWork

#: a format that fails for more than one device in a hundred of a rollout is off in it, from so many failures on;
#: devices with false reports can only make others fetch full images
SHARE, FEW = 100, 3


@dataclass(frozen=True, slots=True)
class KnownPatch:
    """One patch, or the record that a format does not work for a pair of images.

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
        """Return the saved share in whole percent, rounded down."""
        return int(self.saved * 100)


def patch_progress(bundle: Bundle) -> tuple[int, int] | None:
    """Return the numbers of attempted and wanted patches to a bundle's image; None if none is wanted."""
    row = PatchWork.objects.filter(domain=bundle.domain_id, result=bundle.image.sha256).first()
    return (row.done, row.wanted) if row else None


def of_bundle(bundle: Bundle) -> list[KnownPatch]:
    """Return the patches for a bundle's image, those that save most first."""
    image = bundle.image
    rows = list(Delta.objects.filter(domain=bundle.domain_id, result=image.sha256))
    known = BundleFile.objects.filter(
        bundle__domain=bundle.domain_id, role="image", sha256__in={row.base for row in rows if row.base}
    )
    versions = {"": "", **dict(known.values_list("sha256", "bundle__version"))}
    patches = [
        KnownPatch(
            base=versions.get(row.base),
            format=row.format,
            size=row.size,
            saved=0.0 if row.trouble else max(1 - row.size / max(image.size, 1), 0.0),
            trouble=row.trouble,
        )
        for row in rows
    ]
    return sorted(patches, key=lambda patch: (-patch.saved, patch.format, patch.base or ""))


@dataclass(frozen=True, slots=True)
class Use:
    """The results of one patch format in a rollout.

    Args:
        format: by name.
        tried: devices that received a patch in it and reported the result.
        failed: number of these devices that fetched the full image in the end.
    """

    format: str
    tried: int
    failed: int

    @property
    def is_off(self) -> bool:
        """Return whether the rollout no longer offers patches in this format."""
        return self.failed >= FEW and self.failed * SHARE > self.tried


def in_rollout(rollout_id: int) -> list[Use]:
    """Return the results of each format in a rollout, in one query."""
    return in_rollouts([rollout_id])[rollout_id]


def in_rollouts(rollout_ids: Sequence[int]) -> dict[int, list[Use]]:
    """Return the results of each format in some rollouts, in one query that reads counts, not devices."""
    uses: dict[int, list[Use]] = {}
    for key, outcomes in count_outcomes(rollout_ids).items():
        names = sorted({name for name, _ in outcomes})
        uses[key] = [Use(name, outcomes[name, True] + outcomes[name, False], outcomes[name, True]) for name in names]
    return uses


def count_outcomes(rollout_ids: Sequence[int]) -> dict[int, Counter[tuple[str, bool]]]:
    """Return how many devices of some rollouts reported on a patch, by its format and whether it failed.

    Args:
        rollout_ids: internal ids; each is a key of the answer.
    """
    counts: dict[int, Counter[tuple[str, bool]]] = {key: Counter() for key in rollout_ids}
    rows = PatchCount.objects.filter(rollout__in=rollout_ids).values_list("rollout_id", "format", "failed")
    for key, name, failed, devices in rows.annotate(there=Sum("devices")).order_by():
        if devices:
            counts[key][name, failed] = devices
    return counts


def switched_off(rollout_id: int | None) -> set[str]:
    """Return the formats that failed too often in a rollout."""
    return {use.format for use in in_rollout(rollout_id) if use.is_off} if rollout_id is not None else set()
