"""Where a peer program is missing, a local run skips its tests by name and CI fails."""

import os
import shutil

import pytest


def require(program):
    """Return the path of a program, or skip; with CI=true its absence is a failure."""
    found = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found:
        return found
    skip_missing(f"the peer program {program}")
    return ""


def skip_missing(what):
    """Skip a test for want of a peer; with CI=true fail it."""
    words = f"{what} is missing; run `make peers`"
    if os.environ.get("CI") == "true":
        pytest.fail(words)
    pytest.skip(words)
