"""Which tests share a worker process: those that share the story, because telling it twice costs minutes.

pytest-xdist's own ``--dist loadgroup`` writes the group into a private attribute that pytest 9.2 no longer reads
(every test then runs wherever there is room), so the group is read from the module that declares it.
"""

import re
from functools import cache

from xdist.scheduler import LoadScopeScheduling

from tests.architecture.sources import ROOT

MARK = re.compile(r'xdist_group\("(\w+)"\)')
#: a module that makes something costly for all of its tests
SHARED = re.compile(r'fixture\(scope="module"')


@cache
def group(path):
    """Return the group of a test module: two share a story, so that both workers have one to tell; others a server."""
    match = MARK.search((ROOT / path).read_text())
    return match[1] if match else ""


@cache
def scope(path):
    """Return what the tests of a module share a worker with: a group, their module, or "" for nothing."""
    return group(path) or (path if SHARED.search((ROOT / path).read_text()) else "")


class StoryScheduling(LoadScopeScheduling):
    """Keep together what shares a story or a costly fixture; every other test is on its own."""

    def _split_scope(self, nodeid):
        return scope(nodeid.partition("::")[0]) or nodeid
