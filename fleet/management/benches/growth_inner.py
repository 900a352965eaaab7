"""``python -m fleet.management.benches.growth_inner ACT …``: actions inside the installation; prints JSON."""

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fleet.management.benches.growth_answers import RouteCost


def main() -> None:
    """Set Django up on FLEET_DIR and run one action."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fleet.settings")
    import django  # noqa: PLC0415  because settings must be chosen before Django is loaded

    django.setup()
    sys.stdout.write(json.dumps(ACTS[sys.argv[1]](*sys.argv[2:])) + "\n")


def fill_databases(many: str) -> dict[str, float]:
    """Fill the databases; a signer runs."""
    from fleet.management.benches import growth_fill  # noqa: PLC0415  because of the set-up above
    from pki.models import TrustDomain  # noqa: PLC0415  because of the set-up above

    began = time.monotonic()
    added = growth_fill.fill_fleet(TrustDomain.objects.get(slug="default"), int(many))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"added": added, "seconds": time.monotonic() - began, "memory_mb": memory}


def measure_answers(runs: str = "3") -> "list[RouteCost]":
    """Request every route, repeatedly for its cost; a signer runs."""
    from django.db import connections  # noqa: PLC0415  because of the set-up above

    from fleet.management.benches import growth_answers, growth_fill  # noqa: PLC0415  because of the set-up above
    from pki.models import TrustDomain  # noqa: PLC0415  because of the set-up above

    domain = TrustDomain.objects.get(slug="default")
    growth_fill.freshen_contacts(domain)
    for alias in connections:
        if connections[alias].vendor == "postgresql":
            with connections[alias].cursor() as cursor:
                # The processor time of parallel workers cannot be attributed to a query.
                cursor.execute("SET max_parallel_workers_per_gather = 0")
    return growth_answers.request_routes(domain, int(runs))


def reset_contacts() -> dict[str, object]:
    """Reset every device's time of last contact to its initial distance from now."""
    from fleet.management.benches import growth_fill  # noqa: PLC0415  because of the set-up above
    from pki.models import TrustDomain  # noqa: PLC0415  because of the set-up above

    growth_fill.freshen_contacts(TrustDomain.objects.get(slug="default"))
    return {}


ACTS: dict[str, Callable[..., object]] = {"fill": fill_databases, "answers": measure_answers, "freshen": reset_contacts}

if __name__ == "__main__":
    main()
