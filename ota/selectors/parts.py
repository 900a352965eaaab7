"""The bundles that a composite names, in its order."""

from ota.models import Bundle, Release


def of(bundle: Bundle) -> list[Bundle]:
    """Return the parts of a composite; of anything else, nothing."""
    if bundle.kind != Bundle.Kind.COMPOSITE:
        return []
    order = {one["digest"]: place for place, one in enumerate(bundle.facts["parts"])}
    rows = Bundle.objects.filter(domain=bundle.domain_id, digest__in=order).select_related("release", "domain")
    found = rows.prefetch_related("files", "hardware_models", "arenas")
    return sorted(found, key=lambda one: order[one.digest])


def whole(bundle: Bundle) -> list[Bundle]:
    """Return a bundle and its parts: all that a device takes with it."""
    return [bundle, *of(bundle)]


def wholes_of(bundle: Bundle) -> list[Bundle]:
    """Return the composites that name a bundle."""
    rows = Bundle.objects.filter(domain=bundle.domain_id, kind=Bundle.Kind.COMPOSITE)
    return [one for one in rows if bundle.digest in {part["digest"] for part in one.facts["parts"]}]


def stopped(bundle: Bundle) -> bool:
    """Say whether a part of a composite is not published any more."""
    if bundle.kind != Bundle.Kind.COMPOSITE:
        return False
    rows = Bundle.objects.filter(domain=bundle.domain_id, digest__in=[one["digest"] for one in bundle.facts["parts"]])
    return rows.exclude(release__state=Release.State.PUBLISHED).exists()
