"""The agent's TUF client as a program, as the public conformance suite for TUF clients drives it.

``python -m fleet.agent.tuf_cli --metadata-dir DIR init ROOT``
``… --metadata-dir DIR --metadata-url URL refresh``
``… --metadata-dir DIR --metadata-url URL --target-name PATH --target-base-url URL --target-dir DIR download``

It ends with 0 when everything was done and with 1 when anything failed. The transport is the agent's own: no redirects,
no encodings, a minimum rate; plain HTTP only, because signatures verify everything that it fetches.
"""

import argparse
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from tuf.api.exceptions import DownloadError, DownloadHTTPError, RepositoryError
from tuf.api.metadata import Metadata, Root
from tuf.ngclient import Updater

from fleet.agent.errors import AnswerError, TransportError
from fleet.agent.roots import updater_with
from fleet.agent.transport import Transport
from ota.contract import root_keys, tuf_json
from pki.kernel import files, intake
from pki.kernel.errors import InvalidError

#: python-tuf cuts each file at its own length; nothing of the suite is longer
MOST = 64 << 20
_logger = logging.getLogger(__name__)


class Fetcher(tuf_json.StrictFetcher):
    """Fetches over the agent's own connections, one an origin."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: dict[str, Transport] = {}

    def _fetch(self, url: str) -> Iterator[bytes]:
        parts = urlsplit(url)
        if parts.scheme != "http":
            msg = f"{url} is not plain HTTP"
            raise DownloadError(msg)
        line = self._lines.setdefault(parts.netloc, Transport(f"http://{parts.netloc}", None))
        try:
            for _, chunk in line.stream(parts.path + (f"?{parts.query}" if parts.query else ""), MOST):
                yield chunk
        except AnswerError as error:
            raise DownloadHTTPError(str(error), error.status) from error
        except TransportError as error:
            raise DownloadError(str(error)) from error


def admit_root(data: bytes) -> None:
    """Refuse a root in which a role names one key under two ids.

    Raises:
        RepositoryError: a key would count twice.
    """
    try:
        root_keys.refuse_twins(intake.map_of(tuf_json.read_metadata(data)["signed"], "signed"))
    except InvalidError as error:
        raise RepositoryError(error.detail) from error


def trust_root(folder: Path, root: Path) -> None:
    """Trust a root; nothing is fetched.

    Raises:
        RepositoryError: the file is no root metadata.
    """
    data = root.read_bytes()
    Metadata[Root].from_bytes(data, tuf_json.StrictDeserializer())
    admit_root(data)
    files.private_folder(folder)
    files.write_private(folder / "root.json", data)


def download_targets(updater: Updater, names: list[str]) -> None:
    """Fetch the named targets in order; what is there already with the signed hashes is not fetched again.

    Raises:
        RepositoryError: one is not listed, or is not what was signed.
        DownloadError: one cannot be fetched.
    """
    for name in names:
        target = updater.get_targetinfo(name)
        if target is None:
            msg = f"{name} is not listed in the signed targets"
            raise RepositoryError(msg)
        if updater.find_cached_target(target) is None:
            updater.download_target(target)


def main(arguments: list[str]) -> int:
    """Do one command; return the exit status."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    try:
        if options.command == "init":
            trust_root(options.metadata_dir, options.root)
            return 0
        target_dir = str(options.target_dir) if options.target_dir else None
        updater = updater_with(admit_root)(
            str(options.metadata_dir), options.metadata_url, target_dir, options.target_base_url or None, Fetcher(),
            bootstrap=None,
        )  # fmt: skip
        updater.refresh()
        if options.command == "download":
            download_targets(updater, options.target_name)
    except (RepositoryError, DownloadError, ValueError, OSError) as error:
        _logger.error("%s: %s", options.command, error)  # noqa: TRY400  because the sentence is meant for people
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m fleet.agent.tuf_cli", description=__doc__.partition("\n")[0])
    parser.add_argument("--metadata-dir", type=Path, required=True, help="folder of the trusted metadata")
    parser.add_argument("--metadata-url", default="", help="URL of the repository's metadata")
    parser.add_argument("--target-name", action="append", default=[], help="path of a target; may be repeated")
    parser.add_argument("--target-base-url", default="", help="URL of the repository's targets")
    parser.add_argument("--target-dir", type=Path, help="folder for downloaded targets")
    commands = parser.add_subparsers(dest="command", required=True)
    first = commands.add_parser("init", help="trust a first root")
    first.add_argument("root", type=Path, help="file of the root")
    commands.add_parser("refresh", help="fetch and verify the newest metadata")
    commands.add_parser("download", help="fetch and verify targets")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
