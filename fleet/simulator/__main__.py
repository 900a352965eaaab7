"""``python -m fleet.simulator PLAN.json``: run a simulated fleet until stopped."""

import logging
import os
import signal
import sys
from pathlib import Path

from fleet.simulator import plan
from fleet.simulator.fleet import Fleet


def main() -> int:
    """Run."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    if len(sys.argv) != 2:  # noqa: PLR2004  because a program name and a plan make two
        print("usage: python -m fleet.simulator PLAN.json")
        return 2
    os.umask(0o077)
    fleet = Fleet(plan.read_plan(Path(sys.argv[1])))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: fleet.stopped.set())
    fleet.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
