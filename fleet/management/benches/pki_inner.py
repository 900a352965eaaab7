"""``python -m fleet.management.benches.pki_inner``: measure OCSP and CRLs inside the installation; prints rows."""

import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Iterator
from datetime import timedelta

from fleet.management.benches.rows import BenchRow, bench_row, load_average
from pki.kernel import clock

MILLION, OCSP_ANSWERS = 1_000_000, 3000


def main() -> None:
    """Set Django up on FLEET_DIR, measure, print."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fleet.settings")
    import django  # noqa: PLC0415  because settings must be chosen before Django is loaded

    django.setup()
    # One core, as in the goals.
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    sys.stdout.write(json.dumps([*_ocsp(), *_lists()]))


def _ocsp() -> list[BenchRow]:
    from cryptography import x509  # noqa: PLC0415  because of the set-up above
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415  because of the set-up above
    from cryptography.x509 import ocsp  # noqa: PLC0415  because of the set-up above

    from pki.models import Authority, Certificate  # noqa: PLC0415  because of the set-up above
    from pki.services.responders import Responders  # noqa: PLC0415  because of the set-up above

    above = x509.load_der_x509_certificate(bytes(Authority.objects.get(kind="issuing").der))
    requests = []
    for der in Certificate.objects.order_by("id").values_list("der", flat=True)[:OCSP_ANSWERS]:
        leaf = x509.load_der_x509_certificate(bytes(der))
        builder = ocsp.OCSPRequestBuilder().add_certificate(leaf, above, hashes.SHA256())
        requests.append(builder.build().public_bytes(serialization.Encoding.DER))
    responders, rates = Responders(), []
    responders.answer(requests[0])
    for _ in range(5):
        started = time.perf_counter()
        for request in requests:
            responders.answer(request)
        rates.append(len(requests) / (time.perf_counter() - started))
    against = (
        f"nothing; {load_average()}, one core, each answer signed and looked up in SQLite, {len(requests)} certificates"
    )
    return [
        bench_row("OCSP answers, signed at the service", statistics.median(rates), "1/s", 5000, against, least=True)
    ]


def _lists() -> list[BenchRow]:
    from pki.models import Authority, CrlShard, TrustDomain  # noqa: PLC0415  because of the set-up above
    from pki.services import crls  # noqa: PLC0415  because of the set-up above

    domain = TrustDomain.objects.get(slug="default")
    key_id = Authority.objects.get(kind="issuing").key_id
    crls.make_list_rows(domain=domain, key_id=key_id)
    _revoke_a_million(key_id)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = []
    for crl_shard in CrlShard.objects.filter(key_id=key_id).order_by("shard"):
        started = time.perf_counter()
        crls.publish_list(domain=domain, row=crl_shard)
        seconds.append(time.perf_counter() - started)
    held = sum(CrlShard.objects.filter(key_id=key_id).values_list("held", flat=True))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    lists = f"{held} entries in {len(seconds)} lists, read from SQLite, signed by the signer, written"
    where = f"nothing; {load_average()}, {lists}"
    return [
        bench_row(
            "one revocation list of a million entries in 256, median", statistics.median(seconds) * 1e3, "ms", 10, where
        ),
        bench_row("all 256 lists", sum(seconds), "s", 3, where),
        bench_row("memory with a million revoked", memory, "MB", 600, f"nothing; {before / 1024:.0f} MB before"),
    ]


def _revoke_a_million(key_id: str) -> None:
    """Insert entries as a revocation does, without the certificates that they belong to."""
    from django.db import connection  # noqa: PLC0415  because of the set-up above

    from pki import crl  # noqa: PLC0415  because of the set-up above
    from pki.x509 import random_serial, shard_of  # noqa: PLC0415  because of the set-up above

    now = clock.now()
    later = (now + timedelta(days=300)).isoformat(sep=" ")

    def rows() -> Iterator[tuple[int, str, int, bytes, str]]:
        for number in range(MILLION):
            serial = random_serial()
            yield 10_000_000 + number, key_id, shard_of(serial), crl.crl_entry(serial, now, "keyCompromise"), later

    with connection.cursor() as cursor:
        cursor.execute("PRAGMA foreign_keys=OFF")
        statement = (
            "INSERT INTO pki_revokedentry (certificate_id, key_id, shard, der, not_after) VALUES (?, ?, ?, ?, ?)"
        )
        cursor.cursor.executemany(statement, rows())
        cursor.connection.commit()


if __name__ == "__main__":
    main()
