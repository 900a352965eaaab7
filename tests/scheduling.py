"""Which tests share a worker process: those that share the story, because telling it twice costs minutes.

pytest-xdist's own ``--dist loadgroup`` writes the group into a private attribute that pytest 9.2 no longer reads
(every test then runs wherever there is room), so the group is read from the module that declares it.
"""

from functools import cache

from xdist.scheduler import LoadScopeScheduling

from tests.architecture.sources import ROOT

MARK = 'xdist_group("story")'


@cache
def tells(path):
    """Return whether a test module belongs to the group that shares one story."""
    return MARK in (ROOT / path).read_text()


class StoryScheduling(LoadScopeScheduling):
    """Keep the story's tests together; every other test is on its own."""

    def _split_scope(self, nodeid):
        return "story" if tells(nodeid.partition("::")[0]) else nodeid
