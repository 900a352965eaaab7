"""Publish revocation lists: 256 shards a CA, each anew when something in it was revoked or half its life is over."""

import logging
from datetime import datetime, timedelta
from pathlib import Path

from django.conf import settings
from django.db import connection

from pki.kernel import clock, files
from pki.kernel.errors import DomainError
from pki.models import Authority, CrlShard, RevokedEntry, TrustDomain, quick
from pki.services import signing
from pki.x509 import SHARDS

#: an entry stays in the lists for so long after its certificate has ended: doors let it renew meanwhile
KEPT = timedelta(days=100)
#: lists that fell due by age alone, in one run: a restart must not sign all of them at once
MOST_BY_AGE = 64
_logger = logging.getLogger(__name__)


def folder(key_id: str) -> Path:
    """Return where the published lists of a CA lie."""
    return settings.FLEET_DIR / "status" / "crl" / key_id


def refresh(*, domain: TrustDomain) -> int:
    """Publish what is due in one domain; a job calls this every second. Return how many lists came out."""
    done = 0
    for authority in _issuing(domain):
        for row in _due(domain, authority.key_id):
            try:
                publish(domain=domain, row=row)
            except DomainError as error:
                _logger.warning("a revocation list is not signed", extra={"shard": str(row), "cause": error.detail})
                return done
            done += 1
    return done


def publish(*, domain: TrustDomain, row: CrlShard) -> None:
    """Sign one list and put it in place.

    What is revoked while it is signed makes it dirty again: the mark is taken away before the entries are read.
    """
    now = clock.now()
    CrlShard.objects.filter(pk=row.pk).update(dirty=False)
    try:
        entries = _entries(row, now)
        signed = signing.client("work").sign_crl(domain.slug, row.key_id, row.shard, b"".join(entries))
        path = folder(row.key_id)
        path.mkdir(parents=True, exist_ok=True)
        files.write_public(path / f"{row.shard:02x}.crl", signed["crl"])
    except BaseException:
        CrlShard.objects.filter(pk=row.pk).update(dirty=True)
        raise
    row.number, row.held, row.published_at = signed["number"], len(entries), now
    row.next_update = datetime.fromisoformat(signed["until"])
    quick.update(row, "number", "held", "published_at", "next_update")


def prepare(*, domain: TrustDomain, key_id: str) -> None:
    """Make the rows of a CA's lists that are missing."""
    there = set(CrlShard.objects.filter(key_id=key_id).values_list("shard", flat=True))
    rows = [CrlShard(domain=domain, key_id=key_id, shard=one) for one in range(SHARDS) if one not in there]
    CrlShard.objects.bulk_create(rows, ignore_conflicts=True)


def _entries(row: CrlShard, now: datetime) -> list[bytes]:
    """Return the entries of a list in DER; thousands of them, so without the ORM's conversions."""
    rows = RevokedEntry.objects.filter(key_id=row.key_id, shard=row.shard, not_after__gt=now - KEPT)
    statement, values = rows.order_by().values_list("der").query.sql_with_params()
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return [bytes(one) for (one,) in cursor.fetchall()]


def _issuing(domain: TrustDomain) -> list[Authority]:
    """Return one certificate of each issuing CA whose certificates may still be alive."""
    rows = Authority.objects.filter(domain=domain, kind=Authority.Kind.ISSUING, not_after__gt=clock.now())
    return list({row.key_id: row for row in rows.order_by("id")}.values())


def _due(domain: TrustDomain, key_id: str) -> list[CrlShard]:
    rows = CrlShard.objects.filter(key_id=key_id)
    if rows.count() < SHARDS:
        prepare(domain=domain, key_id=key_id)
    dirty = list(rows.filter(dirty=True).order_by("shard"))
    half = clock.now() + (timedelta(days=7) / 2)
    aged = rows.filter(dirty=False, next_update__lt=half).order_by("next_update")[:MOST_BY_AGE]
    return [*dirty, *aged]
