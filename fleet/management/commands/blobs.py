"""``manage.py blobs status | move | collect``: manage the blob store of images and patches."""

import json
from typing import TypedDict, Unpack

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from fleet.management.command_support import command_errors
from ota import blobs
from ota.blobs import LocalBlobs
from ota.services import storage
from pki.kernel.plurals import number_of


class BlobsOptions(TypedDict, total=False):
    """Options of the command; only those of the chosen action are set."""

    act: str
    json: bool
    dry_run: bool


class Command(BaseCommand):
    """Manage the blob store."""

    help = "Show the contents of the blob store, move blobs into a bucket, remove unreferenced blobs."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the actions."""
        acts = parser.add_subparsers(dest="act", required=True)
        status = acts.add_parser("status", help="show the location, number and size of the blobs")
        move = acts.add_parser("move", help="move blobs from the local folder into the bucket in FLEET_BLOBS")
        collect = acts.add_parser(
            "collect", help="remove blobs that no device can request any more; a job also does this hourly"
        )
        collect.add_argument("--dry-run", action="store_true", help="only list what would be removed")
        for subparser in (status, move, collect):
            subparser.add_argument("--json", action="store_true", help="write the result as JSON")

    def handle(self, *_args: object, **options: Unpack[BlobsOptions]) -> None:
        """Run one action."""
        with command_errors():
            said, text = getattr(self, f"_{options['act']}")(options)
        self.stdout.write(json.dumps(said) if options["json"] else text)

    def _status(self, _options: BlobsOptions) -> tuple[dict[str, object], str]:
        rows = list(blobs.blob_store().listed())
        size, where = sum(row.size for row in rows), settings.FLEET_BLOBS or str(settings.FLEET_DIR / "blobs")
        text = f"{where}: {number_of(len(rows), 'blob')}, {size} bytes."
        return {"where": where, "blobs": len(rows), "bytes": size}, text

    def _move(self, options: BlobsOptions) -> tuple[dict[str, object], str]:
        if blobs.configured_bucket() is None:
            msg = "FLEET_BLOBS contains no bucket. Set it to s3://BUCKET first."
            raise CommandError(msg)
        moved = 0
        for blob in storage.move_blobs(LocalBlobs(settings.FLEET_DIR / "blobs")):
            moved += 1
            if not options["json"]:
                self.stdout.write(f"{blob.sha256} {blob.size}")
        text = f"Moved {number_of(moved, 'blob')}. If the command was interrupted, run it again to move the rest."
        return {"moved": moved}, text

    def _collect(self, options: BlobsOptions) -> tuple[dict[str, object], str]:
        dry = options["dry_run"]
        collected = storage.collect_garbage(dry_run=dry)
        said = {"bundles": collected.bundles, "blobs": collected.blobs, "bytes": collected.size, "dry_run": dry}
        verb = "Would remove" if dry else "Removed"
        blobs, bundles = number_of(collected.blobs, "blob"), number_of(len(collected.bundles), "bundle")
        return (
            said,
            f"{verb} {blobs} ({collected.size} bytes) of {bundles}.",
        )
