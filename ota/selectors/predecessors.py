"""Earlier bundles of the same name, and changes of a model's inputs, outputs and labels."""

from collections.abc import Iterable

from django.db.models import QuerySet

from ota import fit
from ota.facts import BundleFacts
from ota.fit import ModelDifference
from ota.models import Bundle, Release


def models_before(slug: str, component: str, hardware: Iterable[int], digest: str) -> list[Bundle]:
    """Return the model that was published last in a component, for each hardware model (internal id), each once.

    One that was withdrawn counts too, since devices still run it, besides the last one that was not.

    Args:
        slug: of the domain.
        component: the slot on the device.
        hardware: internal ids of hardware models.
        digest: of the bundle that follows them, which is left out.
    """
    published = Bundle.objects.filter(
        domain__slug=slug, kind=Bundle.Kind.MODEL, component=component, release__published_at__isnull=False
    ).exclude(digest=digest)
    newest = published.order_by("-release__published_at", "-pk")
    ways = (newest, newest.filter(release__state=Release.State.PUBLISHED))
    pairs = [(model, rows) for model in hardware for rows in ways]
    bundles = {one.pk: one for model, rows in pairs if (one := rows.filter(hardware_models=model).first())}
    return list(bundles.values())


def published_before(slug: str, name: str, component: str, hardware: Iterable[int], digest: str) -> list[Bundle]:
    """Return the published bundles before one of the same name: the latest, and the one with the highest counter.

    Args:
        slug: of the domain.
        name: the bundle's ``id``.
        component: the slot on the device.
        hardware: internal ids of hardware models; one in common counts.
        digest: of the bundle that follows them, which is left out.
    """
    published = _of_name(slug, name, component, hardware, digest).filter(release__published_at__isnull=False).distinct()
    latest = published.order_by("-release__published_at", "-pk").first()
    highest = published.order_by("-security_counter", "-release__published_at", "-pk").first()
    bundles = {bundle.pk: bundle for bundle in (latest, highest) if bundle}
    return list(bundles.values())


def uploaded_before(slug: str, name: str, component: str, hardware: Iterable[int], digest: str) -> Bundle | None:
    """Return the last upload of a bundle's name; the arguments are those of ``published_before``."""
    return _of_name(slug, name, component, hardware, digest).order_by("-pk").first()


def _of_name(slug: str, name: str, component: str, hardware: Iterable[int], digest: str) -> QuerySet[Bundle]:
    rows = Bundle.objects.filter(domain__slug=slug, name=name, component=component, hardware_models__in=list(hardware))
    return rows.exclude(digest=digest)


def model_changes(before: Iterable[Bundle], facts: BundleFacts) -> list[tuple[Bundle, ModelDifference]]:
    """Return the changes of a model with these facts, and the earlier model."""
    return [(bundle, change) for bundle in before for change in fit.port_changes(bundle.facts, facts)]
