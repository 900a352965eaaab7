"""Cost of signed metadata with many bundles, patch sizes against the best-known delta tool, and model arenas."""

import json

from fleet.management.benches import trust_deltas, trust_models
from fleet.management.benches.ground import bench_installation
from fleet.management.benches.rows import BenchRow


def run() -> list[BenchRow]:
    """Run all measurements; takes some minutes."""
    with bench_installation() as installation:
        inner: list[BenchRow] = json.loads(
            installation.processes.run("-m", "fleet.management.benches.trust_inner", timeout=900)
        )
    return [*inner, *trust_models.run(), *trust_deltas.run()]
