"""Publish CRLs: 256 shards per CA, each renewed after a revocation in it or at half its lifetime."""

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from django.conf import settings
from django.db import connection, transaction

from pki.kernel import clock, files
from pki.kernel.errors import DomainError
from pki.models import Authority, CrlShard, TrustDomain, prepared_sql
from pki.services import signing
from pki.signer.client import SignedCrl
from pki.x509 import SHARDS

#: an entry stays in the CRLs for this long after its certificate expired: gateways accept renewals meanwhile
KEPT = timedelta(days=100)
#: lists that fell due by age alone, in one run: a restart must not sign all of them at once
MOST_BY_AGE = 64
#: both run for every list, hundreds in a row: plain, because to compile them costs a tenth of a list
_ENTRIES = "SELECT der FROM pki_revokedentry WHERE key_id = %s AND shard = %s AND not_after > %s"
_NUMBER = "SELECT number FROM pki_crlshard WHERE id = %s"
_COUNT = "SELECT COUNT(*) FROM pki_revokedentry WHERE key_id = %s AND shard = %s AND not_after > %s"
_logger = logging.getLogger(__name__)


def crl_folder(key_id: str) -> Path:
    """Return the folder of a CA's published CRLs."""
    return settings.FLEET_DIR / "status" / "crl" / key_id


def publish_due(*, domain: TrustDomain) -> int:
    """Publish the CRLs that are due in one domain; return their number. A job calls this every second."""
    done = 0
    for authority in _issuing(domain):
        for row in _due(domain, authority.key_id):
            try:
                done += publish_list(domain=domain, row=row)
            except DomainError as error:
                _logger.warning(
                    "a revocation list could not be signed", extra={"shard": str(row), "cause": error.detail}
                )
                return done
    return done


def publish_list(*, domain: TrustDomain, row: CrlShard) -> bool:
    """Sign and store one CRL; return whether it was stored. A newer one of another worker stays."""
    now = clock.now()
    entries = _entries(row, now)
    signed = signing.signer_client("work").sign_crl(domain.slug, row.key_id, row.shard, b"".join(entries))
    return _put_in_place(row, entries, signed, now)


def _put_in_place(row: CrlShard, entries: list[bytes], signed: SignedCrl, now: datetime) -> bool:
    """Write a list, unless another one came out since its row was read; what was revoked since leaves it due.

    A process that was suspended before this may hold entries from before a revocation.
    """
    path = crl_folder(row.key_id)
    path.mkdir(parents=True, exist_ok=True)
    with transaction.atomic():
        # A revocation marks the row in the same transaction: the entry is seen below, or the mark comes after this.
        if _number_now(row) != row.number:
            CrlShard.objects.filter(pk=row.pk).update(dirty=True)
            return False
        row.dirty = _listed(_COUNT, row, now) != [(len(entries),)]  # entries are added, and never changed
        files.write_public(path / f"{row.shard:02x}.crl", signed["crl"])
        row.number, row.held, row.published_at = signed["number"], len(entries), now
        row.next_update = datetime.fromisoformat(signed["until"])
        prepared_sql.update_row(row, "number", "held", "dirty", "published_at", "next_update")
    return True


def make_list_rows(*, domain: TrustDomain, key_id: str) -> None:
    """Create the missing rows of a CA's CRLs."""
    there = set(CrlShard.objects.filter(key_id=key_id).values_list("shard", flat=True))
    rows = [CrlShard(domain=domain, key_id=key_id, shard=number) for number in range(SHARDS) if number not in there]
    CrlShard.objects.bulk_create(rows, ignore_conflicts=True)


def _number_now(row: CrlShard) -> int:
    """Return the number of the published CRL; lock it until the transaction ends."""
    locking = _NUMBER + " FOR UPDATE"
    with connection.cursor() as cursor:
        cursor.execute(locking if connection.features.has_select_for_update else _NUMBER, [row.pk])
        return int(cursor.fetchone()[0])


def _listed(statement: str, row: CrlShard, now: datetime) -> Sequence[tuple[bytes | int]]:
    """Return the rows of the certificates that belong into a CRL, as a statement selects them."""
    since = connection.ops.adapt_datetimefield_value(now - KEPT)
    with connection.cursor() as cursor:
        cursor.execute(statement, [row.key_id, row.shard, since])
        rows: Sequence[tuple[bytes | int]] = cursor.fetchall()
    return rows


def _entries(row: CrlShard, now: datetime) -> list[bytes]:
    """Return the entries of a list in DER; thousands of them, so without the ORM's conversions."""
    return [bytes(der) for (der,) in _listed(_ENTRIES, row, now)]


def _issuing(domain: TrustDomain) -> list[Authority]:
    """Return one certificate of each issuing CA whose certificates may still be valid."""
    rows = Authority.objects.filter(domain=domain, kind=Authority.Kind.ISSUING, not_after__gt=clock.now())
    return list({row.key_id: row for row in rows.order_by("id")}.values())


def _due(domain: TrustDomain, key_id: str) -> list[CrlShard]:
    rows = CrlShard.objects.filter(key_id=key_id)
    if rows.count() < SHARDS:
        make_list_rows(domain=domain, key_id=key_id)
    dirty = list(rows.filter(dirty=True).order_by("shard"))
    half = clock.now() + (timedelta(days=7) / 2)
    aged = rows.filter(dirty=False, next_update__lt=half).order_by("next_update")[:MOST_BY_AGE]
    return [*dirty, *aged]
