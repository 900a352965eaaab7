"""``sw-description`` in more than 175 ways, judged by us and by ``swupdate -c``: what differs is a policy in our own document."""

import os
import re
import signal
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from ota.errors import RefusedBundleError
from ota.formats import swu
from ota.formats.judgement import ArtefactToVerify
from ota.formats.swupdate.description import read_description
from pki.kernel import clock
from tests.architecture.sources import ROOT
from tests.factories.artefacts import Makers
from tests.factories.descriptions import VARIANTS
from tests.peers.programs import require
from tests.peers.swupdate import archive
from tests.regressions import regression

#: one worker asks swupdate about all of them at once
pytestmark = [pytest.mark.peer, pytest.mark.xdist_group("descriptions")]
AT_ONCE, TRIES, SECONDS = 6, 4, 60
POLICIES = ROOT / "docs" / "reference" / "sw-description.md"


@pytest.fixture(scope="module")
def makers(tmp_path_factory):
    made = Makers(tmp_path_factory.mktemp("descriptions"))
    chain = made.pki.folder / "chain.pem"
    chain.write_text(made.pki.pem("signing-ca") + made.pki.pem("root"))
    return made


@pytest.fixture(scope="module")
def judged(makers):
    """Return what swupdate says of each variant, and the archives."""
    program = require("swupdate")
    images = {name: signed(makers, variant) for name, variant in VARIANTS.items()}

    def judge(name):
        variant = VARIANTS[name]
        for _ in range(TRIES):  # now and then it fails on a good file
            said = check(program, makers.pki.folder / "chain.pem", images[name], variant.arguments)
            if "SWUPDATE successful" in said or not variant.tool:
                break
        return name, said

    with ThreadPoolExecutor(AT_ONCE) as threads:
        return images, dict(threads.map(judge, VARIANTS))


def signed(makers, variant):
    """Return the archive of a variant, signed."""
    signature = makers.cms(variant.text)
    members = [("sw-description", variant.text), ("sw-description.sig", signature), *variant.members.items()]
    return archive(members, variant.magic)


def check(program, chain, image, arguments):
    """Return what ``swupdate -c`` says of an archive."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "image.swu").write_bytes(image)
        command = [
            program,
            "-v",
            "-c",
            "-i",
            "image.swu",
            "-H",
            "board:1.0",
            "-k",
            chain,
            "--cert-purpose",
            "codeSigning",
        ]
        child = subprocess.Popen(
            [*command, *arguments],
            cwd=folder,
            env={"PATH": os.environ["PATH"], "TMPDIR": folder},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            return child.communicate(timeout=SECONDS)[0].decode(errors="replace")
        finally:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)  # it leaves a child behind at times
            child.wait()


def ours(makers, image, folder):
    """Return our judgement of an archive, or why it is refused."""
    path = folder / "image"
    path.write_bytes(image)
    try:
        return swu.judge(ArtefactToVerify("swu", path, None, makers.anchors("swu"), clock.unix(), folder))
    except RefusedBundleError as error:
        return error.detail


@regression("C2", "more than 175 ways to write sw-description, judged beside swupdate -c")
@pytest.mark.parametrize("name", VARIANTS)
def test_we_read_what_swupdate_reads_or_refuse_it_as_our_document_says(judged, makers, name, tmp_path):
    images, verdicts = judged
    variant, said = VARIANTS[name], verdicts[name]
    assert ("SWUPDATE successful" in said) == variant.tool, said[-3000:]
    found = ours(makers, images[name], tmp_path)
    assert (not isinstance(found, str)) == variant.accepted, found
    if isinstance(found, str):
        assert variant.policy in found
        assert found.endswith("."), "a whole sentence"
    elif variant.tool:
        assert re.search(r"\] : Version (.*)", said)[1] == found.facts["version"]
        seen = (set(re.findall(r"Accepted Hw Revision : (.*)", said)), required(said))
        shown = [
            (set(one.hardware), {entry.filename for entry in one.entries}) for one in read_description(variant.text)
        ]
        assert seen in shown


def required(said):
    """Return the members that swupdate takes out of the archive."""
    found = re.findall(r"\tfilename (.*)\n.*\tsize \d+ required", said)
    return {name for name in found if not name.startswith("sw-description")}


@pytest.mark.parametrize("name", [name for name, variant in VARIANTS.items() if variant.policy])
def test_what_differs_is_a_stated_policy(name):
    assert f"| {name} |" in POLICIES.read_text()
