"""Current bundles of devices, by their reports."""

from collections.abc import Iterable

from devices.twin_documents import ReportedTwin
from ota.models import BundleFile


class RunningBundles:
    """The images of some components of a domain, read once: a lookup for many devices makes no query.

    Args:
        domain: internal id of the trust domain.
        components: whose images.
    """

    def __init__(self, domain: int, components: Iterable[str]) -> None:
        rows = BundleFile.objects.filter(bundle__domain=domain, bundle__component__in=components, role="image")
        fields = ("bundle__component", "sha256", "bundle_id", "bundle__version", "bundle__security_counter")
        self._known: dict[tuple[str, str], list[tuple[int, str, int]]] = {}
        for component, sha256, *bundle in rows.order_by("-bundle_id").values_list(*fields):
            self._known.setdefault((component, sha256), []).append((bundle[0], bundle[1], bundle[2]))

    def of(self, reported: ReportedTwin, component: str) -> int | None:
        """Return the internal id of the bundle that a device reports to run as a component, if its image is known.

        Args:
            reported: the device's last report, as its twin keeps it.
            component: name.
        """
        said = reported.get("components", {}).get(component, {})
        return self.named(component, said.get("sha256"), said.get("version"), said.get("counter"))

    def named(self, component: str, sha256: object, version: object, counter: object) -> int | None:
        """Return what ``of`` returns, by what a device reports of one component (None: it does not say)."""
        found = self._known.get((component, str(sha256)), [])
        # The same bytes may be in several bundles: the one whose version and counter it names, else the newest.
        named = (pk for pk, *told in found if told == [version, counter])
        return next(named, found[0][0] if found else None)
