"""Detached signatures of files that carry none: CMS below a signing CA, or ES256 as a JWS by a registered key."""

from ota.errors import RefusedBundleError
from ota.facts import BundleFacts
from ota.formats import cms, jws
from ota.formats.judgement import ArtefactToVerify, read_whole_file, report_line

MAX_JWS = 128 << 20
MAX_CMS = 64 * 1024
_SEQUENCE = b"\x30"


def verify_detached(case: ArtefactToVerify, what: str) -> tuple[BundleFacts, dict[str, str]]:
    """Return who signed a file, as facts, and the line for the report.

    Raises:
        RefusedBundleError: unsigned, changed, or signed by a stranger.
    """
    if case.signature is None:
        msg = f"{what} needs a detached signature: add a file with the role signature (JWS with ES256, or CMS in DER)."
        raise RefusedBundleError(msg)
    signature = read_whole_file(case.signature, MAX_CMS, "signature")
    if signature.startswith(_SEQUENCE):
        signer = cms.verify_cms(case, case.image, signature, what)
        facts: BundleFacts = {"signer": signer["name"], "signer_certificate": signer["certificate"]}
        said = report_line("signature", "openssl cms", f"detached CMS, signed under {signer['name']}")
        return {**facts, "signer_serial": signer["serial"]}, said
    keys = [anchor for anchor in case.anchors if "PUBLIC KEY" in anchor.pem]
    name = jws.verify_jws(read_whole_file(case.image, MAX_JWS, "file"), signature, keys)
    return {"signer": name}, report_line("signature", "muster", f"detached ES256 by {name}")
