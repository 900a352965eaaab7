"""The signer's own program, with its calls noted: ``python -m tests.architecture.lives.signer FILE``."""

import sys
from pathlib import Path

from tests.architecture.lives.calls import AllCalls

if __name__ == "__main__":
    calls = AllCalls()
    calls.begin()
    from pki.signer.__main__ import main

    code = main()
    sys.setprofile(None)
    calls.write(Path(sys.argv[1]))
    sys.exit(code)
