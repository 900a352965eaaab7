"""The readers of SWUpdate archives, fed with anything: ``python -m tests.fuzz.readers TARGET SECONDS SEED`` (atheris).

A target returns quietly or raises one of our own refusals; any other exception, a hang or too much memory is a crash.
"""

import io
import sys
from contextlib import suppress

from tests import environment
from tests.fuzz import listeners

TARGETS = ("descriptions", "revisions", "archives", "tarballs")


def target_of(name):
    """Return what takes one input; imported here, so that it is instrumented."""
    from ota.errors import RefusedBundleError
    from ota.formats import bombs, tarballs
    from ota.formats.swupdate import cpio, revisions
    from ota.formats.swupdate.description import read_description

    def accepts(data):
        pattern, _, text = data.decode("latin-1").partition("\n")
        revisions.accepts_revision([revisions.PREFIX + pattern], text[:255])

    def measure(data):
        budget = bombs.UnpackingBudget(len(data))
        bombs.measured_size(io.BytesIO(data), budget, "The file")
        tarballs.measure_archive(io.BytesIO(data), budget, "The archive")

    read = {"descriptions": read_description, "revisions": accepts, "archives": cpio.unpack_cpio, "tarballs": measure}[
        name
    ]

    def run(data):
        with suppress(RefusedBundleError):
            read(data)

    return run


def corpus(name):
    """Return good inputs to start from."""
    import gzip

    from tests.factories import descriptions
    from tests.peers.swupdate import archive

    if name == "descriptions":
        return [variant.text for variant in descriptions.VARIANTS.values()]
    if name == "revisions":
        return [b"^(rev[A-C]+|x{2,3})\\.[0-9]?$\nrevA.1", b"1.0\n1.0", b"[^a]*|b+\nab"]
    if name == "archives":
        return [archive([("a", b"b"), ("c", b"d" * 9)], magic) for magic in (b"070701", b"070702")]
    packers = (gzip.compress, descriptions.zstandard.compress, bytes)
    return [pack(data) for pack in packers for data in (descriptions.tarball(), descriptions.PAYLOAD)]


def main():
    """Fuzz one target for some seconds; a crash ends the process with another status than 0."""
    import atheris

    target = sys.argv[1]
    with atheris.instrument_imports(include=["ota.formats"]):
        run = target_of(target)
    listeners.fuzz(run, corpus(target))


if __name__ == "__main__":
    assert environment
    main()
