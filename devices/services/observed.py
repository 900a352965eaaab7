"""Store observations of device gateways: samples per tick, last contacts, source networks."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.db import connections

from devices import metrics, networks
from devices.models import Presence, Sample, SourceNetwork

AT_ONCE = 500
#: networks stored per device; a new one replaces the one with the oldest contact
MOST_NETWORKS = 64
#: device (internal id), tick, metric, value
Row = tuple[int, int, str, float]
_KNOWN = ("device_id", "prefix", "last_tick", "id")
#: of a device and a network: the last tick and the row's key
Known = Mapping[tuple[int, str], tuple[int, int]]
Contacts = Mapping[int, tuple[datetime, str]]
_TABLE = Sample._meta.db_table
_KEPT = {
    "sum": f"{_TABLE}.value + excluded.value",
    "greatest": f"CASE WHEN excluded.value > {_TABLE}.value THEN excluded.value ELSE {_TABLE}.value END",
    "newest": "excluded.value",
}


@dataclass(frozen=True, slots=True)
class _Contact:
    """Contact of a device: seconds since the last one, and whether its network is new in this tick."""

    device: int
    tick: int
    gap: float | None
    network: str
    is_fresh: bool


def add_samples(rows: Iterable[Row]) -> None:
    """Combine samples with those of their ticks, by the rule of each metric: several workers write parts of a tick."""
    sorted_rows: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda one: one[:3]):  # in one order: two workers never wait for each other
        sorted_rows.setdefault(metrics.combining_rule(row[2]), []).append(row)
    with connections["telemetry"].cursor() as cursor:
        for way, some in sorted(sorted_rows.items()):
            cursor.executemany(
                f"INSERT INTO {_TABLE} (device_id, tick, metric, value) VALUES (%s, %s, %s, %s) "  # noqa: S608  because the names are Django's own
                f"ON CONFLICT (tick, device_id, metric) DO UPDATE SET value = {_KEPT[way]}",
                some,
            )


def write_contacts(seen: Contacts) -> list[Row]:
    """Store time and address of last contacts; return the resulting gaps and networks as samples.

    Args:
        seen: internal id -> moment and address.
    """
    contacts = _compared(seen)
    Presence.objects.bulk_create(
        [Presence(device_id=key, last_seen=at, address=address) for key, (at, address) in sorted(seen.items())],
        update_conflicts=True,
        unique_fields=["device_id"],
        update_fields=["last_seen", "address"],
    )
    gaps = [(contact.device, contact.tick, metrics.GAP, contact.gap) for contact in contacts if contact.gap is not None]
    return gaps + _of_networks([contact for contact in contacts if contact.is_fresh and contact.network])


def _compared(seen: Contacts) -> list[_Contact]:
    keys: list[int] = sorted(seen)
    before: dict[int, tuple[datetime, str]] = {}
    for start in range(0, len(keys), AT_ONCE):
        rows = Presence.objects.filter(device_id__in=keys[start : start + AT_ONCE])
        before |= {key: (at, address) for key, at, address in rows.values_list("device_id", "last_seen", "address")}
    return [_contact(key, *seen[key], before.get(key)) for key in keys]


def _contact(device: int, at: datetime, address: str, before: tuple[datetime, str] | None) -> _Contact:
    tick, network = _tick(at), networks.network_prefix(address)
    if before is None:
        return _Contact(device, tick, None, network, is_fresh=True)
    gap = max((at - before[0]).total_seconds(), 0.0)
    is_fresh = _tick(before[0]) != tick or (before[1] != address and networks.network_prefix(before[1]) != network)
    return _Contact(device, tick, gap, network, is_fresh)


def _of_networks(fresh: list[_Contact]) -> list[Row]:
    """Store networks; count those that are new for a device in this tick."""
    counted: list[Row] = []
    for start in range(0, len(fresh), AT_ONCE):
        some = fresh[start : start + AT_ONCE]
        rows = SourceNetwork.objects.filter(device_id__in=[contact.device for contact in some])
        known = {(device, prefix): (tick, key) for device, prefix, tick, key in rows.values_list(*_KNOWN)}
        counted += [
            (contact.device, contact.tick, metrics.SOURCES, 1.0) for contact in some if _is_first(contact, known)
        ]
        SourceNetwork.objects.bulk_create(
            [
                SourceNetwork(device_id=contact.device, prefix=contact.network, last_tick=contact.tick)
                for contact in some
            ],
            update_conflicts=True,
            unique_fields=["device_id", "prefix"],
            update_fields=["last_tick"],
        )
        _make_room({contact.device for contact in some if (contact.device, contact.network) not in known}, known)
    return counted


def _is_first(contact: _Contact, known: Known) -> bool:
    tick, _ = known.get((contact.device, contact.network), (None, 0))
    return tick != contact.tick


def _make_room(grown: set[int], known: Known) -> None:
    """Remove the network of each device with the oldest contact, if it has one too many."""
    own: dict[int, list[tuple[int, int]]] = {}
    for (device, _), row in known.items():
        if device in grown:
            own.setdefault(device, []).append(row)
    gone = [key for rows in own.values() for _, key in sorted(rows)[: max(len(rows) + 1 - MOST_NETWORKS, 0)]]
    if gone:
        SourceNetwork.objects.filter(pk__in=gone).delete()


def _tick(at: datetime) -> int:
    return int(at.timestamp()) // settings.FLEET_DRIFT_TICK_S
