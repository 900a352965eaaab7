"""``manage.py doctor``: check an installation, and say how to fix problems."""

import io
import json
import shutil
import ssl
import urllib.request
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TypedDict, Unpack

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error, connections
from django.db.migrations.executor import MigrationExecutor

from ota import blobs, sandbox
from ota.selectors.roles import role_states
from ota.trust import standing
from pki import selectors
from pki.kernel import actor as actors
from pki.kernel import clock, confine
from pki.kernel.errors import DomainError
from pki.kernel.plurals import number_of
from pki.services import restore_check
from pki.signer.client import is_signer_listening

LEAST_DISK = 1 << 30
WARN_DAYS = 90
PROBE = b"the doctor was here"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check."""

    what: str
    ok: bool
    detail: str


class DoctorOptions(TypedDict):
    """Options of the command."""

    json: bool
    probe: bool


class Command(BaseCommand):
    """Check everything that commonly fails."""

    help = "Check configuration, databases, certificates, disk, sandboxing and the running processes."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("--json", action="store_true", help="write the result as JSON")
        parser.add_argument("--probe", action="store_true", help="only check whether the running server is ready")

    def handle(self, *_args: object, **options: Unpack[DoctorOptions]) -> None:
        """Print the findings; exit with 1 if one needs attention."""
        findings = [_ready()] if options["probe"] else list(_findings())
        if options["json"]:
            self.stdout.write(json.dumps([asdict(finding) for finding in findings]))
        else:
            for finding in findings:
                self.stdout.write(f"{'ok  ' if finding.ok else 'WARN'} {finding.what}: {finding.detail}")
        if not all(finding.ok for finding in findings):
            msg = "Some checks failed. See the lines marked WARN above."
            raise CommandError(msg)


def _findings() -> Iterator[Finding]:
    yield from _databases()
    free = shutil.disk_usage(settings.FLEET_DIR).free
    yield Finding("disk", free > LEAST_DISK, f"{free >> 20} MiB free in {settings.FLEET_DIR}")
    mode = (settings.FLEET_DIR / "secrets").stat().st_mode & 0o777
    yield Finding("secrets", mode == 0o700, f"folder mode {mode:o}; it should be 700")  # noqa: PLR2004  because it is the mode
    yield Finding(
        "confinement",
        confine.has_landlock(),
        "Landlock is available"
        if confine.has_landlock()
        else "this kernel has no Landlock: the listeners are not sandboxed",
    )
    yield from _verifier()
    yield Finding(
        "signer",
        is_signer_listening(settings.FLEET_DIR),
        "answers" if is_signer_listening(settings.FLEET_DIR) else "not running; start `manage.py serve`",
    )
    yield _ready()
    yield _blobs()
    try:
        yield from _domains()
        problems = restore_check.restore_problems()
        yield Finding("journal", not problems, " ".join(problems) or "the database is up to date with the journal")
    except Error as error:
        yield Finding("journal", ok=False, detail=f"comparison failed: {error}")


def _verifier() -> Iterator[Finding]:
    """Report which mechanism enforces each restriction on the process that verifies uploads."""
    try:
        holds = sandbox.describe_confinement()
    except (DomainError, OSError) as error:
        yield Finding("verifier", ok=False, detail=str(error))
        return
    for promise, mechanism in holds.items():
        yield Finding(f"verifier: {promise}", ok=True, detail=mechanism)


def _blobs() -> Finding:
    """Write a few bytes into the blob store and delete them again."""
    where = settings.FLEET_BLOBS or f"{settings.FLEET_DIR}/blobs"
    try:
        store = blobs.blob_store()
        digest, _ = store.put(io.BytesIO(PROBE), len(PROBE))
        store.remove(digest)
    except (DomainError, ImproperlyConfigured, OSError) as error:
        return Finding("blobs", ok=False, detail=f"{where}: {error}")
    return Finding("blobs", ok=True, detail=f"{where} is readable and writable")


def _databases() -> Iterator[Finding]:
    for alias in ("default", "telemetry"):
        try:
            executor = MigrationExecutor(connections[alias])
            waiting = executor.migration_plan(executor.loader.graph.leaf_nodes())
        except Error as error:
            yield Finding(f"database {alias}", ok=False, detail=str(error))
            continue
        detail = f"{connections[alias].vendor}, {number_of(len(waiting), 'pending migration')}"
        yield Finding(f"database {alias}", not waiting, detail + ("; run `manage.py upgrade`" if waiting else ""))


def _domains() -> Iterator[Finding]:
    for domain in selectors.list_domains():
        for authority in selectors.list_authorities(actor=actors.system_actor(domain.slug, "doctor")):
            days = (authority.not_after - clock.now()).days
            yield Finding(
                f"{authority.kind} CA of {domain.slug}",
                days > WARN_DAYS,
                f"{authority.name}, {number_of(days, 'day')} left",
            )
        for role in role_states(actor=actors.system_actor(domain.slug, "doctor")):
            detail = f"version {role.version} ends {role.expires:%Y-%m-%d %H:%M} UTC. {role.advice}".strip()
            yield Finding(f"{role.role} of {domain.slug}", role.level == standing.GOOD, detail)
        if not selectors.list_authorities(actor=actors.system_actor(domain.slug, "doctor")):
            yield Finding(f"CA of {domain.slug}", ok=False, detail="no issuing CA yet; run `manage.py ca csr`")


def _ready() -> Finding:
    """Query the operator server on this machine; its certificate is not checked here."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    address = f"https://127.0.0.1:{settings.FLEET_OPERATOR_PORT}/readyz"
    try:
        with urllib.request.urlopen(address, timeout=5, context=context) as answer:
            return Finding("operator server", ok=True, detail=answer.read().decode())
    except OSError as error:
        return Finding("operator server", ok=False, detail=f"{address}: {error}")
