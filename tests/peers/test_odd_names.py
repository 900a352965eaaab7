"""Odd file names from the upload to the device: curl fetches each by its link, and SWUpdate installs some of them.

SWUpdate hands the link to libcurl as it is, so ``curl`` stands for its download.
"""

import json
import subprocess

import pytest

from pki.kernel.errors import DomainError
from tests.factories.story import eventually
from tests.ota.odd_names import BAD, GOOD
from tests.peers.programs import require
from tests.peers.test_swupdate import Bench
from tests.regressions import regression

pytestmark = [pytest.mark.peer, pytest.mark.xdist_group("story")]
INSTALLED = ("sub folder/ü/app+1.swu", "question?mark.swu", "a% 20b%2.swu", "x" * 196 + ".swu")
DONE = r"SWUPDATE successful !|HTTP error code|Got malformed JSON"


@pytest.fixture(scope="module")
def bench(story, tmp_path_factory):
    require("swupdate")
    require("openssl")
    return Bench(story, tmp_path_factory.mktemp("names"), "names")


def offered(bench, number, name):
    """Upload, sign and roll out an archive under a file name; return its bytes, its payload and the link."""
    version = f"{number}.0.0"
    data, payload = bench.image(version, bench.signer, size=2048)
    made = bench.operator.upload(data, version, board=bench.board, name="names", path=name)
    bench.operator.roll_out(bench.operator.release(made), f"names-{number}")

    def link():
        tenant = f"/DEFAULT/controller/v1/{bench.name}"
        answer = json.loads(bench.story.call("GET", tenant, identity=bench.identity)[2])
        address = answer["_links"].get("deploymentBase", {}).get("href", "")
        if not address:
            return ""
        found = json.loads(bench.story.call("GET", address[address.index(tenant) :], identity=bench.identity)[2])
        for chunk in found.get("deployment", {}).get("chunks", ()):  # the one before may just be taken back
            if chunk["version"] == version:
                return chunk["artifacts"][0]["_links"]["download"]["href"]
        return ""

    return data, payload, eventually(link)


def fetched(bench, link):
    """Return what curl fetches by a link with the device's certificate."""
    chain, key = bench.identity
    command = ["curl", "--silent", "--fail", "--cacert", bench.story.anchor, "--cert", chain, "--key", key, link]
    return subprocess.run(command, capture_output=True, check=True).stdout


@regression("C1", "more than thirty odd file names from the upload to curl, and some to an install by SWUpdate")
def test_every_name_that_is_taken_can_be_fetched_and_installed(bench):
    for number, name in enumerate(GOOD, 1):
        data, payload, link = offered(bench, number, name)
        assert fetched(bench, link) == data, name
        if name in INSTALLED:
            bench.target.unlink(missing_ok=True)
            _, log = bench.device.run(bench.url(), 30, version="0.1.0", until=DONE)
            assert bench.target.read_bytes() == payload, (name, log[-3000:])


@regression("C1", "every odd name that is refused, by REST, with a sentence")
def test_every_other_name_is_refused_at_upload(bench):
    data, _ = bench.image("99.0.0", bench.signer, size=2048)
    for name in (*BAD, "app.bin", "app.SWU", "app.swu.sig"):
        if not name or "\ud800" in name or '"' in name:  # no multipart head holds them
            continue
        with pytest.raises(DomainError) as refused:
            bench.operator.upload(data, "99.0.0", board=bench.board, name="names", path=name)
        assert refused.value.context["status"] in {400, 422}, name
