"""``python -m fleet.agent``: run one device in the foreground."""

import argparse
import logging
import signal
import sys
import threading
from pathlib import Path

from fleet.agent import tpm
from fleet.agent.agent import Agent
from fleet.agent.errors import AgentError
from fleet.agent.state import Settings

#: exit status that asks the supervisor to restart the agent (EX_TEMPFAIL)
RESTART = 75


def main() -> int:
    """Poll until stopped."""
    parser = _parser()
    given = parser.parse_args()
    if given.tpm:
        if given.server.startswith("coaps://"):
            parser.error("--tpm requires an https:// server: the DTLS library cannot use a key in a TPM")
        tpm.started_anew(given.dir, given.tpm, [sys.executable, "-m", "fleet.agent", *sys.argv[1:]])
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        agent = _agent(given)
    except AgentError as error:  # such as a TPM that does not answer
        sys.stderr.write(f"{error}\n")
        return 1
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    while not stopped.is_set():
        wait = agent.step()
        if agent.restart_wanted:
            return RESTART
        if given.once:
            return 0
        agent.rest(wait, stopped)
    return 0


def _agent(given: argparse.Namespace) -> Agent:
    return Agent(
        Settings(
            given.dir,
            given.server,
            given.anchor,
            given.tuf_root,
            given.hw_class,
            given.name,
            given.token,
            given.mirror,
            given.enrol_at,
            given.audience,
            given.tpm,
            given.oscore,
        )
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m fleet.agent", description="Run one device in the foreground.")
    parser.add_argument("--dir", type=Path, required=True, help="data folder of the device")
    parser.add_argument("--server", required=True, help="https://host:port of the device gateway, or coaps://host:port")
    parser.add_argument("--anchor", type=Path, required=True, help="PEM file of the root CA")
    parser.add_argument("--tuf-root", type=Path, required=True, help="file of the first TUF root")
    parser.add_argument("--hw-class", required=True, help="class id of the hardware model")
    parser.add_argument("--name", required=True, help="name of the device in its certificate request")
    parser.add_argument("--token", default="", help="one-time enrolment token for the first certificate")
    parser.add_argument("--mirror", default="", help="URL of an untrusted HTTP mirror for blobs, tried first")
    parser.add_argument("--enrol-at", default="", help="https://host:port for enrolment if --server is coaps://")
    parser.add_argument(
        "--audience",
        choices=("lab", "canary", "production"),
        default="production",
        help="what the device is used as; it refuses bundles for other audiences (default: %(default)s)",
    )
    parser.add_argument("--oscore", action="store_true", help="use CoAP with OSCORE; the server issues the context")
    parser.add_argument("--tpm", default="", metavar="TCTI", help="keep the key in this TPM, e.g. device:/dev/tpmrm0")
    parser.add_argument("--once", action="store_true", help="poll once, then exit")
    return parser


if __name__ == "__main__":
    sys.exit(main())
