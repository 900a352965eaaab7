"""``python -m fleet.management.benches.trust_inner``: cost of signed metadata with many bundles; prints rows."""

import json
import os
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from fleet.management.benches.rows import BenchRow, bench_row, load_average

if TYPE_CHECKING:
    from tuf import ngclient
    from tuf.api.metadata import Metadata, Targets

    from ota.trust.documents import ListedBundle

MANY, MOST = 10_000, 100_000
BITS, MORE_BITS = 8, 11
PUBLISHED, CLIENTS = 10, 40
FIRST_CONTACT, IDLE, PUBLISH_MS, RENEW_S = 17_000, 400, 50, 3


def main() -> None:
    """Set Django up on FLEET_DIR, measure, print."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fleet.settings")
    import django  # noqa: PLC0415  because settings must be chosen before Django is loaded

    django.setup()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    from fleet.management.command_support import provide_signer  # noqa: PLC0415  because of the set-up above

    with provide_signer(), tempfile.TemporaryDirectory() as folder:
        keys = _officers(Path(folder))
        _publish_many(keys, _bundles(MANY))
        rows = [*_contacts(), _publishing(keys)]
        sys.stdout.write(json.dumps([*rows, _renewing(keys)]))


def _officers(folder: Path) -> list[Path]:
    """Run the key ceremony with three officers; return the keys of two."""
    from fleet.officer import keys, metadata  # noqa: PLC0415  because of the set-up above
    from ota.services import metadata as repository  # noqa: PLC0415  because of the set-up above
    from pki.kernel import actor as actors  # noqa: PLC0415  because of the set-up above

    who = actors.system_actor("default", "bench")
    public = [keys.generate_key(folder, name) for name in ("anna", "bruno", "carla")]
    signers = [folder / "anna.key", folder / "bruno.key"]
    root = metadata.signed_root(
        public, {name: dict(key) for name, key in repository.online_keys(actor=who).items()}, signers
    )
    repository.install_root(actor=who, root=root)
    repository.install_targets(actor=who, targets=metadata.first_targets(root, signers, BITS))
    return signers


def _bundles(many: int) -> Iterator[tuple[str, bytes]]:
    """Yield path and bundle.json of typical bundles: some products, many versions."""
    from pki.kernel import canonical  # noqa: PLC0415  because of the set-up above

    source = random.Random(1)  # noqa: S311  because it makes names
    for number in range(many):
        product, version = f"sensor-fw-{number // 50:04}", f"{number % 50 // 10}.{number % 10}.0"
        document = {
            "schema": 1, "id": product, "version": version, "kind": "firmware", "format": "mcuboot", "component": "app",
            "security_counter": number % 50 + 1, "audience": ["production"],
            "hw": [{"vendor_id": "0" * 36, "class_id": f"{source.getrandbits(128):032x}", "name": "node"}],
            "files": [{"path": "a.bin", "size": 131072, "sha256": f"{source.getrandbits(256):064x}", "role": "image"}],
        }  # fmt: skip
        yield f"app/{product}/{version}/bundle.json", canonical.dumps(document)


def _signed(document: "Metadata[Targets]", keys: list[Path]) -> "Metadata[Targets]":
    from fleet.officer import keys as officer  # noqa: PLC0415  because of the set-up above

    payload = document.signed_bytes
    for key in keys:
        signature = officer.load_signer(key).sign(payload)
        document.signatures[signature.keyid] = signature
    return document


def _publish_many(keys: list[Path], listed: Iterator[tuple[str, bytes]]) -> None:
    """Fill the hash bins, and publish them at once."""
    from ota.services import metadata, online_roles  # noqa: PLC0415  because of the set-up above
    from ota.trust import documents  # noqa: PLC0415  because of the set-up above
    from ota.trust.repository import bin_of  # noqa: PLC0415  because of the set-up above
    from pki.kernel import clock  # noqa: PLC0415  because of the set-up above
    from pki.models import TrustDomain  # noqa: PLC0415  because of the set-up above

    store = online_roles.published_repository("default")
    targets = store.targets()
    filled: dict[str, list[ListedBundle]] = {}
    for path, text in listed:
        role = bin_of(targets.signed, path) if targets else None
        filled.setdefault(str(role), []).append(documents.ListedBundle(path, text))
    bins = {}
    for role, entries in filled.items():
        before = store.document(role)
        if before is not None:
            bins[role] = _signed(documents.unsigned_bin(before.signed, entries, 2, clock.now()), keys)
    domain = TrustDomain.objects.get(slug="default")
    metadata.publish_metadata(domain=domain, given=bins, bases=dict.fromkeys(bins, 1))


def publish_one(folder: Path, path: str, document: bytes) -> None:
    """Run the key ceremony in a folder and publish one bundle that two officers sign."""
    publish_listed(folder, [(path, document)])


def publish_listed(folder: Path, listed: Iterable[tuple[str, bytes]]) -> None:
    """Run the key ceremony in a folder and publish bundles (path, bundle.json) that two officers sign."""
    _publish_many(_officers(folder), iter(listed))


def _fetcher(folder: Path, came: list[int]) -> "ngclient.FetcherInterface":
    """Return a fetcher for python-tuf's client that records the size of each file."""
    from tuf.api.exceptions import DownloadHTTPError  # noqa: PLC0415  because of the set-up above
    from tuf.ngclient import FetcherInterface  # noqa: PLC0415  because of the set-up above

    class Fetcher(FetcherInterface):
        def _fetch(self, url: str) -> Iterator[bytes]:
            path = folder / url.rsplit("/", 1)[-1]
            if not path.exists():
                raise DownloadHTTPError(url, 404)
            data = path.read_bytes()
            came.append(len(data))
            yield data

    return Fetcher()


def _contacts() -> list[BenchRow]:
    """Measure the downloads of a device that has only the factory root, and of an idle device."""
    from django.conf import settings  # noqa: PLC0415  because of the set-up above
    from tuf.ngclient import Updater  # noqa: PLC0415  because of the set-up above

    source = settings.FLEET_DIR / "tuf" / "default"
    root = (source / "1.root.json").read_bytes()
    paths = [path for path, _ in _bundles(MANY)]
    random.Random(2).shuffle(paths)  # noqa: S311  because it picks samples
    first: list[int] = []
    idle: list[int] = []
    for path in paths[:CLIENTS]:
        folder = Path(tempfile.mkdtemp())
        for counted in (first, idle):
            came: list[int] = []
            updater = Updater(str(folder), "/", fetcher=_fetcher(source, came), bootstrap=root)
            updater.refresh()
            target = updater.get_targetinfo(path)
            counted.append(sum(came))
            if target is None:
                raise AssertionError(path)
        shutil.rmtree(folder)
    against = f"python-tuf's own client with the factory root; {MANY} bundles in {2**BITS} bins, {CLIENTS} clients"
    against += f"; {load_average()}"
    return [
        bench_row("first contact: metadata for one bundle, mean", statistics.mean(first), "B", FIRST_CONTACT, against),
        bench_row("first contact, the largest bin met", max(first), "B", FIRST_CONTACT, against),
        bench_row("idle check", statistics.mean(idle), "B", IDLE, against),
    ]


def _publishing(keys: list[Path]) -> BenchRow:
    """Time the server's part of publishing one release: verify, write, snapshot, timestamp."""
    from ota.services import metadata, online_roles  # noqa: PLC0415  because of the set-up above
    from ota.trust import documents  # noqa: PLC0415  because of the set-up above
    from ota.trust.repository import bin_of  # noqa: PLC0415  because of the set-up above
    from pki.kernel import clock  # noqa: PLC0415  because of the set-up above
    from pki.models import TrustDomain  # noqa: PLC0415  because of the set-up above

    store, seconds = online_roles.published_repository("default"), []
    domain = TrustDomain.objects.get(slug="default")
    for number in range(PUBLISHED):
        entry = documents.ListedBundle(f"app/new-{number}/1.0.0/bundle.json", b"{}" + b" " * number)
        targets = store.targets()
        role = str(bin_of(targets.signed, entry.path)) if targets else ""
        before = store.document(role)
        if before is None:
            raise AssertionError(role)
        signed_bin = _signed(
            documents.unsigned_bin(before.signed, [entry], before.signed.version + 1, clock.now()), keys
        )
        started = time.perf_counter()
        text = entry.document.decode()
        metadata.publish_metadata(
            domain=domain, given={role: signed_bin}, bases={role: before.signed.version}, exhibits=[text]
        )
        seconds.append(time.perf_counter() - started)
    against = "nothing; signatures of two officers verified, snapshot and timestamp by the signer, files synced"
    against += f"; {load_average()}"
    return bench_row(
        "publish one release beside signing, median", statistics.median(seconds) * 1000, "ms", PUBLISH_MS, against
    )


def _renewing(keys: list[Path]) -> BenchRow:
    """Time a renewal of 100,000 bundles: all hash bins, signed by two officers."""
    from tuf.api.metadata import Root, Targets  # noqa: PLC0415  because of the set-up above

    from ota.services import online_roles  # noqa: PLC0415  because of the set-up above
    from ota.trust import documents  # noqa: PLC0415  because of the set-up above
    from pki.kernel import clock  # noqa: PLC0415  because of the set-up above

    root = online_roles.published_repository("default").root()
    if root is None or not isinstance(root.signed, Root):
        raise AssertionError
    roles = documents.bin_delegations(root.signed, MORE_BITS).succinct_roles
    filled: dict[str, list[ListedBundle]] = {role: [] for role in (roles.get_roles() if roles else ())}
    for path, text in _bundles(MOST):
        filled[roles.get_role_for_target(path) if roles else ""].append(documents.ListedBundle(path, text))
    now = clock.now()
    bins = [documents.unsigned_bin(Targets(version=1), entries, 1, now).signed for entries in filled.values()]
    started = time.perf_counter()
    for targets in bins:
        documents.to_bytes(_signed(documents.renewed_document(targets, 2, now), keys))
    spent = time.perf_counter() - started
    against = (
        f"nothing; {len(bins)} bins, two officers' Ed25519 signatures each, written out; one core; {load_average()}"
    )
    return bench_row(f"{MOST} targets re-signed", spent, "s", RENEW_S, against)


if __name__ == "__main__":
    main()
