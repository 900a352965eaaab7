"""``python -m fleet.management.benches.packing_inner DEVICES DAYS``: inside the set-up; prints JSON."""

import json
import os
import random
import statistics
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fleet.management.benches.packing import PackingFigures
    from pki.models import TrustDomain

AT_ONCE, RUNS = 5000, 7
TWO_WEEKS = 24 * 14
#: metric -> one of its values: counts of listeners, and measurements of devices
SHAPES: dict[str, Callable[[random.Random], float]] = {
    "requests": lambda rng: float(rng.randint(10, 14)),
    "srv_bytes_in": lambda rng: float(rng.randint(3000, 9000)),
    "srv_bytes_out": lambda rng: float(rng.randint(3000, 90000)),
    "gap_max_s": lambda rng: rng.uniform(300, 330),
    "source_prefixes": lambda _: 1.0,
    "tls_resumptions": lambda rng: float(rng.randint(0, 3)),
    "temp_c": lambda rng: round(rng.gauss(21, 2), 1),
    "heap_free_b": lambda rng: float(rng.randint(20_000, 30_000)),
}


def main() -> None:
    """Set Django up on FLEET_DIR and measure."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fleet.settings")
    import django  # noqa: PLC0415  because settings must be chosen before Django is loaded

    django.setup()
    sys.stdout.write(json.dumps(pack_and_measure(int(sys.argv[1]), int(sys.argv[2]))) + "\n")


def pack_and_measure(devices: int, days: int) -> "PackingFigures":
    """Store one row per value, pack the complete days, and return the measurements before and after."""
    from devices import selectors  # noqa: PLC0415  because of the set-up above
    from devices.models import Device  # noqa: PLC0415  because of the set-up above
    from devices.services import drift, tick_packing  # noqa: PLC0415  because of the set-up above
    from pki.models import TrustDomain  # noqa: PLC0415  because of the set-up above

    domain = TrustDomain.objects.get(slug="default")
    empty = _used()
    keys = _devices(domain, devices)
    newest = drift.unscored_ticks(domain=domain)[1]
    values = _fill(keys, newest, days)
    device = Device.objects.get(pk=keys[0])

    def seen() -> tuple[float, float, float]:
        behaviour = _median_ms(lambda: selectors.read_behaviour(device, TWO_WEEKS))
        scored = _median_ms(lambda: _score(domain, newest))
        return _used() - empty, behaviour, scored

    before, began = seen(), time.process_time()
    packed = tick_packing.pack_past_days(domain=domain)
    seconds, after = time.process_time() - began, seen()
    return {
        "values": values,
        "bytes": (before[0], after[0]),
        "behaviour_ms": (before[1], after[1]),
        "drift_ms": (before[2], after[2]),
        "packed": packed,
        "seconds": seconds,
    }


def _devices(domain: "TrustDomain", many: int) -> list[int]:
    from devices.models import Device, HardwareModel, Twin  # noqa: PLC0415  because of the set-up above
    from devices.services import hardware  # noqa: PLC0415  because of the set-up above
    from pki.kernel import actor as actors  # noqa: PLC0415  because of the set-up above

    by = actors.system_actor(domain.slug, "bench")
    model: HardwareModel = hardware.register_model(actor=by, name="packing", vendor="bench.example")
    rows = [Device(domain=domain, name=f"packing-{n}", hardware_model=model, state="active") for n in range(many)]
    Device.objects.bulk_create(rows, batch_size=AT_ONCE)
    keys = list(Device.objects.filter(domain=domain).order_by("pk").values_list("pk", flat=True))
    Twin.objects.bulk_create([Twin(device_id=key) for key in keys], batch_size=AT_ONCE)
    return keys


def _fill(keys: list[int], newest: int, days: int) -> int:
    """Store the samples of each hour in the order of the listeners' writes; return their number."""
    from devices.models import Sample  # noqa: PLC0415  because of the set-up above

    rng, many = random.Random(1), 0  # noqa: S311  because these are figures, not secrets
    for tick in range(newest - 24 * days + 1, newest + 1):
        rows = [
            Sample(device_id=key, tick=tick, metric=name, value=make(rng))
            for key in keys
            for name, make in SHAPES.items()
        ]
        Sample.objects.bulk_create(rows, batch_size=AT_ONCE)
        many += len(rows)
    return many


def _score(domain: "TrustDomain", newest: int) -> None:
    from devices.models import DriftState  # noqa: PLC0415  because of the set-up above
    from devices.services import drift  # noqa: PLC0415  because of the set-up above

    DriftState.objects.filter(domain_id=domain.pk).update(updated_tick=newest - 1)
    drift.score_ticks(domain=domain)


def _median_ms(act: Callable[[], object]) -> float:
    taken = []
    for _ in range(RUNS):
        began = time.process_time()
        act()
        taken.append(1000 * (time.process_time() - began))
    return statistics.median(taken)


def _used() -> float:
    """Return the used bytes of the telemetry database, without free pages."""
    from django.db import connections  # noqa: PLC0415  because of the set-up above

    connection = connections["telemetry"]
    if connection.vendor == "postgresql":
        connection.ensure_connection()
        with connection.cursor() as cursor:
            cursor.execute("VACUUM FULL devices_sample")
            cursor.execute(
                "SELECT pg_total_relation_size('devices_sample') + pg_total_relation_size('devices_sampleday')"
            )
            return float(cursor.fetchone()[0])
    with connection.cursor() as cursor:
        sizes = []
        for name in ("page_count", "freelist_count", "page_size"):
            cursor.execute(f"PRAGMA {name}")
            sizes.append(cursor.fetchone()[0])
    return float((sizes[0] - sizes[1]) * sizes[2])


if __name__ == "__main__":
    main()
