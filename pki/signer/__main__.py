"""``python -m pki.signer``: run the signer for FLEET_DIR until it is asked to stop."""

import logging
import os
import sys
from pathlib import Path

from pki.kernel import handover
from pki.signer import client, server

_logger = logging.getLogger("muster.signer")


def main() -> int:
    """Run; exit 1 when another signer serves this folder already."""
    handover.hide_secrets([handover.PASSPHRASE])
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    folder = os.environ.get("FLEET_DIR")
    if not folder:
        _logger.error("Set FLEET_DIR to the folder of this set-up.")
        return 2
    if client.is_signer_listening(Path(folder)):
        _logger.error("A signer already runs for %s.", folder)
        return 1
    server.serve_signer(Path(folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
