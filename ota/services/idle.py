"""Find devices without pending work, which a listener may answer from memory, and for how long."""

import sqlite3
from collections.abc import Iterator, Sequence

from django.db import connections
from django.db.models import F

from devices.models import Device, Twin
from ota.models import Assignment, Command
from pki.kernel import clock
from pki.models import Authority, Certificate, TrustDomain
from pki.profiles import CertificateRules
from pki.services import profiles

#: fingerprint, device, domain, first and last second (unix time) in which the answer holds; no seconds: never
Idle = tuple[bytes, int, int, int, int]
NEVER = (0, 0)
Status = Assignment.Status
FETCHED = 5000


def idle_rows(subjects: Sequence[str] = ()) -> Iterator[Idle]:
    """Yield one row for each device certificate of all domains, or of some devices.

    A row has no duration when the listener must ask: the certificate is revoked, the device is not in service, or held
    back, or something waits for it. The last second is where the device should renew.

    Args:
        subjects: public ids of devices; none for all.
    """
    only = f" AND c.subject_key IN ({', '.join(['%s'] * len(subjects))})" if subjects else ""
    if subjects:
        yield from (row for _, row in _read(_statement(HELD, only), [Status.WAITING.value, *subjects]))
        return
    # Few devices have pending work: reading them first saves two look-ups for each of the others.
    held = _held()
    for _, row in _read(_statement("FALSE", ""), []):
        yield (*row[:3], *NEVER) if row[1] in held else row


def idle_part(after: int, many: int) -> tuple[int, list[Idle]]:
    """Return the next certificates in order, and the number to continue from; 0 after the last part."""
    statement = _statement(HELD, " AND c.id > %s ORDER BY c.id LIMIT %s")
    rows = list(_read(statement, [Status.WAITING.value, after, many]))
    return rows[-1][0] if len(rows) == many else 0, [row for _, row in rows]


def _held() -> set[int]:
    """Return the devices with pending work."""
    assignments = Assignment.objects.filter(closed_at__isnull=True).exclude(status=Status.WAITING)
    commands = Command.objects.filter(closed_at__isnull=True)
    twins = Twin.objects.filter(config_version__gt=F("config_fetched"))
    return {key for rows in (assignments, commands, twins) for key in rows.values_list("device_id", flat=True)}


def _read(statement: str, parameters: Sequence[int | str]) -> Iterator[tuple[int, Idle]]:
    """Yield each certificate's number and row; a listener reads a million of them when it starts."""
    now, slugs = clock.unix(), dict(TrustDomain.objects.values_list("id", "slug"))
    ends = {key: int(at.timestamp()) for key, at in Authority.objects.values_list("id", "not_after")}
    known: dict[tuple[int, str], tuple[float, float] | None] = {}
    with connections["default"].cursor() as cursor:
        cursor.execute(statement, parameters)
        while batch := cursor.fetchmany(FETCHED):
            for number, fingerprint, device, domain, profile, idle, since, until, authority in batch:
                key = bytes.fromhex(fingerprint)
                if not idle or device is None or until < now:
                    yield number, (key, device or 0, domain, *NEVER)
                    continue
                if (domain, profile) not in known:
                    known[domain, profile] = _renewal(profiles.fresh_profile(slugs[domain], profile))
                spread = known[domain, profile]
                # `Profile.renew_at` in seconds. Without a profile at once: the listener knows what to answer.
                share = int(fingerprint[:8], 16) / 0xFFFFFFFF
                last = int(until - spread[0] - spread[1] * share) if spread else 0
                yield number, (key, device, domain, since, min(last, ends[authority]))


def _renewal(profile: CertificateRules | None) -> tuple[float, float] | None:
    """Return the renewal time of a profile in seconds before expiry, and its jitter."""
    return (profile.renewal.total_seconds(), profile.jitter.total_seconds()) if profile else None


def _statement(held: str, condition: str) -> str:
    """Return the SQL statement for certificates; ``held`` selects devices with pending work."""
    # Django keeps a UUID as 32 hexadecimal digits on SQLite.
    postgresql = connections["default"].vendor == "postgresql"
    public_id = "c.subject_key::uuid" if postgresql else "replace(c.subject_key, '-', '')"
    return f"""
        SELECT c.id, c.fingerprint, d.id, c.domain_id, c.profile_name,
            (c.revoked_at IS NULL AND d.state = 'active' AND d.quarantined_at IS NULL AND d.domain_id = c.domain_id
             AND NOT ({held})),
            {_unix("c.not_before")}, {_unix("c.not_after")}, c.authority_id
        FROM {Certificate._meta.db_table} c
        LEFT JOIN {Device._meta.db_table} d ON d.public_id = {public_id}
        WHERE c.profile = 'device'{condition}
    """  # noqa: S608  because it contains only names of our own models


HELD = f"""EXISTS (SELECT 1 FROM {Command._meta.db_table} m WHERE m.device_id = d.id AND m.closed_at IS NULL)
    OR EXISTS (SELECT 1 FROM {Assignment._meta.db_table} s
               WHERE s.device_id = d.id AND s.closed_at IS NULL AND s.status <> %s)
    OR EXISTS (SELECT 1 FROM {Twin._meta.db_table} t
               WHERE t.device_id = d.id AND t.config_version > t.config_fetched)"""  # noqa: S608  because see above


def _unix(column: str) -> str:
    if connections["default"].vendor == "postgresql":
        return f"extract(epoch FROM {column})::bigint"
    # SQLite has the faster function since version 3.38.
    new = sqlite3.sqlite_version_info >= (3, 38)
    return f"unixepoch({column})" if new else f"CAST(strftime('%%s', {column}) AS INTEGER)"
