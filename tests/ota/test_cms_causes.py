"""A CMS signature is refused for one named cause, whatever words this version of OpenSSL uses."""

import subprocess

import pytest

from ota.errors import RefusedBundleError
from ota.formats import cms, cms_causes
from ota.formats.judgement import ArtefactToVerify
from pki.kernel import clock
from tests.factories.artefacts import DAY, Makers, noise
from tests.regressions import regression

DATA = noise(1000, 1)


@pytest.fixture(scope="module")
def makers(tmp_path_factory):
    made = Makers(tmp_path_factory.mktemp("causes"))
    now = clock.now()
    made.pki.issue("old-ca", "root", ca=True, length=0, since=now - 900 * DAY, until=now - DAY)
    made.pki.issue("heir", "old-ca")
    return made


def without_certificate(makers):
    content, out, pki = makers.place(".bin"), makers.place(".p7s"), makers.pki.folder
    content.write_bytes(DATA)
    command = ["openssl", "cms", "-sign", "-binary", "-nocerts", "-outform", "DER", "-in", content, "-out", out]
    command += ["-signer", pki / "signer.pem", "-inkey", pki / "signer.key"]
    subprocess.run(command, check=True, capture_output=True)
    return out.read_bytes()


CAUSES = {
    "content": (lambda makers: makers.cms(DATA + b"!"), "is not the file that was signed"),
    "signature": (lambda makers: makers.cms(DATA)[:-5] + b"\0" + makers.cms(DATA)[-4:], "a signature that was changed"),
    "stranger": (lambda makers: makers.cms(DATA, "devsign"), "not signed under a registered signing CA"),
    "expired": (lambda makers: makers.cms(DATA, "expired"), "a certificate that is not valid now"),
    "not yet valid": (lambda makers: makers.cms(DATA, "future"), "a certificate that is not valid now"),
    "usage": (lambda makers: makers.cms(DATA, "noeku"), "may not sign code"),
    "no certificate": (without_certificate, "does not carry its signer's certificate"),
    "no CMS": (lambda _: b"\x30\x82\x01\x00" + b"x" * 256, "no readable CMS signature"),
}


@pytest.mark.parametrize("cause", CAUSES)
@regression("V6", "detached CMS signatures that are wrong in one thing: one reason a cause")
def test_one_reason_for_each_cause(makers, cause, tmp_path):
    make, words = CAUSES[cause]
    (tmp_path / "content").write_bytes(DATA)
    case = ArtefactToVerify(
        "generic", tmp_path / "content", None, makers.anchors("generic-cms"), clock.unix(), tmp_path
    )
    with pytest.raises(RefusedBundleError, match=words):
        cms.verify_cms(case, tmp_path / "content", make(makers), "The file")


def test_a_signing_ca_whose_time_is_over_is_named_as_the_cause(makers):
    signer, anchor = makers.pki.made["heir"][1], makers.pki.pem("old-ca")
    anchors = [type(makers.anchors("swu")[0])("old", anchor)]
    assert "signing CA that is not valid now" in cms_causes.chain_cause(signer, anchors, clock.unix())


@pytest.mark.parametrize("words", ["no content", "nothing inside (OpenSSL 9 wording)"])
@regression("V6", "the texts of another version of OpenSSL")
def test_causes_are_told_by_code_and_not_by_text(words):
    said = f"40675468667F0000:error:1700007F:CMS routines:check_content:{words}:../crypto/cms/cms_smime.c:82:\n"
    assert cms_causes.signature_cause(said) == cms_causes.DETACHED
    assert "error codes 46/9" in cms_causes.signature_cause(said.replace("1700007F", "17000009"))
